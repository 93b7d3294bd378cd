#define DLCORE_BODY "conv/conv.inl"
#include "common/each_isa.h"
