#define DLCORE_BODY "elementwise/arithmetic.inl"
#include "common/each_isa.h"
