#define DLCORE_BODY "reduce/statistics.inl"
#include "common/each_isa.h"
