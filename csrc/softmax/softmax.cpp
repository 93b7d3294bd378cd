#define DLCORE_BODY "softmax/softmax.inl"
#include "common/each_isa.h"
