#include "core/kernel.h"

#define DLCORE_BODY "elementwise/arithmetic.inl"
#include "core/each_isa.h"
