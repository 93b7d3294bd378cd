#define DLCORE_BODY "elementwise/checked.inl"
#include "common/each_isa.h"
