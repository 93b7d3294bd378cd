#define DLCORE_BODY "elementwise/rounding.inl"
#include "common/each_isa.h"
