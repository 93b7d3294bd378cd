#define DLCORE_BODY "elementwise/special.inl"
#include "common/each_isa.h"
