#define DLCORE_BODY "elementwise/trigonometry.inl"
#include "common/each_isa.h"
