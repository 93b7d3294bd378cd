#define DLCORE_BODY "elementwise/compare.inl"
#include "common/each_isa.h"
