#include "core/kernel.h"

#define DLCORE_BODY "activation/activation.inl"
#include "core/each_isa.h"
