#include <string>
#include <type_traits>
#include <utility>

#include "core/kernel.h"
#define DLCORE_BODY "movement/index.inl"
#include "common/each_isa.h"
