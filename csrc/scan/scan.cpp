#define DLCORE_BODY "scan/scan.inl"
#include "common/each_isa.h"
