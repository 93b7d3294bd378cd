#define DLCORE_BODY "ctc/ctc.inl"
#include "common/each_isa.h"
