#include <type_traits>
#include <utility>

#include "core/kernel.h"
#define DLCORE_BODY "optim/optim.inl"
#include "common/each_isa.h"
