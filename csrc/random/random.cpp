#include <type_traits>

#include "core/kernel.h"
#define DLCORE_BODY "random/random.inl"
#include "core/each_isa.h"
