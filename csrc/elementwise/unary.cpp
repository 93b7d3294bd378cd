#include "core/kernel.h"

#define DLCORE_BODY "elementwise/unary.inl"
#include "core/each_isa.h"
