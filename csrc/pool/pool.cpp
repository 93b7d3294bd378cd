#define DLCORE_BODY "pool/pool.inl"
#include "common/each_isa.h"
