#define DLCORE_BODY "elementwise/bitwise.inl"
#include "common/each_isa.h"
