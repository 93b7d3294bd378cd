#include "core/processor.h"
#define DLCORE_BODY "matmul/matmul.inl"
#include "common/each_isa.h"
