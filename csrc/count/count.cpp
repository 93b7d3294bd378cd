#define DLCORE_BODY "count/count.inl"
#include "common/each_isa.h"
