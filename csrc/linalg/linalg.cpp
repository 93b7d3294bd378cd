#define DLCORE_BODY "linalg/linalg.inl"
#include "common/each_isa.h"
