#define DLCORE_BODY "loss/loss.inl"
#include "common/each_isa.h"
