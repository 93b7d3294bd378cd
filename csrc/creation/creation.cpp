#define DLCORE_BODY "creation/creation.inl"
#include "common/each_isa.h"
