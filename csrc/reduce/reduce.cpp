#include "core/kernel.h"
#include "core/memory.h"
#include "core/threads.h"

#define DLCORE_BODY "reduce/reduce.inl"
#include "common/each_isa.h"
