#define DLCORE_BODY "random/random.inl"
#include "common/each_isa.h"
