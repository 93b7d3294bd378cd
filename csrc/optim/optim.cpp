#define DLCORE_BODY "optim/optim.inl"
#include "common/each_isa.h"
