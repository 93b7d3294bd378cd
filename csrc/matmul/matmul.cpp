#include <algorithm>
#include <type_traits>
#include <utility>

#include "core/kernel.h"

#define DLCORE_BODY "matmul/matmul.inl"
#include "common/each_isa.h"
