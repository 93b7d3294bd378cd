#define DLCORE_BODY "random/distributions.inl"
#include "common/each_isa.h"
