#define DLCORE_BODY "elementwise/numbers.inl"
#include "common/each_isa.h"
