#define DLCORE_BODY "movement/copy.inl"
#include "common/each_isa.h"
