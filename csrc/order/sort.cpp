#define DLCORE_BODY "order/sort.inl"
#include "common/each_isa.h"
