#define DLCORE_BODY "activation/units.inl"
#include "common/each_isa.h"
