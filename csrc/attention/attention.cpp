#define DLCORE_BODY "attention/attention.inl"
#include "common/each_isa.h"
