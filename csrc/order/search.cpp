#define DLCORE_BODY "order/search.inl"
#include "common/each_isa.h"
