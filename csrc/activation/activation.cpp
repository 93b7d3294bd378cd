#define DLCORE_BODY "activation/activation.inl"
#include "common/each_isa.h"
