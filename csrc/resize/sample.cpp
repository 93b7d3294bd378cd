#define DLCORE_BODY "resize/sample.inl"
#include "common/each_isa.h"
