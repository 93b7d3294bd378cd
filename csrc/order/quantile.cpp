#define DLCORE_BODY "order/quantile.inl"
#include "common/each_isa.h"
