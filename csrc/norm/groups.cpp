#define DLCORE_BODY "norm/groups.inl"
#include "common/each_isa.h"
