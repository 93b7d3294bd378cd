#include <type_traits>

#include "core/kernel.h"
#define DLCORE_BODY "random/random.inl"
#include "common/each_isa.h"
