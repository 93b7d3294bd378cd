#define DLCORE_BODY "norm/rows.inl"
#include "common/each_isa.h"
