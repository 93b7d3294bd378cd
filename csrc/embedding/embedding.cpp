#define DLCORE_BODY "embedding/embedding.inl"
#include "common/each_isa.h"
