#define DLCORE_BODY "elementwise/unary.inl"
#include "common/each_isa.h"
