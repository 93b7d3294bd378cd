#include "core/kernel.h"

#define DLCORE_BODY "elementwise/cast.inl"
#include "core/each_isa.h"
