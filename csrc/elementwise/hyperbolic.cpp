#define DLCORE_BODY "elementwise/hyperbolic.inl"
#include "common/each_isa.h"
