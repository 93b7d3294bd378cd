#define DLCORE_BODY "activation/gates.inl"
#include "common/each_isa.h"
