#define DLCORE_BODY "embedding/bags.inl"
#include "common/each_isa.h"
