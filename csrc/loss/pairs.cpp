#define DLCORE_BODY "loss/pairs.inl"
#include "common/each_isa.h"
