// Bound by memory: as fast with these options as with -O3, and compiled in half the time.
#pragma GCC optimize("O2,unswitch-loops,vect-cost-model=dynamic")
#define DLCORE_BODY "order/among.inl"
#include "common/each_isa.h"
