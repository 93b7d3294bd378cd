#define DLCORE_BODY "rotary/rotary.inl"
#include "common/each_isa.h"
