#include "core/kernel.h"

#define DLCORE_BODY "elementwise/compare.inl"
#include "core/each_isa.h"
