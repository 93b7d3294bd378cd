#define DLCORE_BODY "conv/direct.inl"
#include "common/each_isa.h"
