#include "core/processor.h"
#define DLCORE_BODY "recurrent/recurrent.inl"
#include "common/each_isa.h"
