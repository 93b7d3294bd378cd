#define DLCORE_BODY "elementwise/cast.inl"
#include "common/each_isa.h"
