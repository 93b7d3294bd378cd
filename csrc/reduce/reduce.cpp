#define DLCORE_BODY "reduce/reduce.inl"
#include "common/each_isa.h"
