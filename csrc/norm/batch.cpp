#define DLCORE_BODY "norm/batch.inl"
#include "common/each_isa.h"
