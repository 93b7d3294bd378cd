#define DLCORE_BODY "resize/crop.inl"
#include "common/each_isa.h"
