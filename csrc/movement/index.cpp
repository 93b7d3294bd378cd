#define DLCORE_BODY "movement/index.inl"
#include "common/each_isa.h"
