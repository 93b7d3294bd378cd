#define DLCORE_BODY "movement/strided.inl"
#include "common/each_isa.h"
