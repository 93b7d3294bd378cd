#define DLCORE_BODY "resize/resize.inl"
#include "common/each_isa.h"
