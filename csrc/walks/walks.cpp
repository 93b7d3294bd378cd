#include "common/walks.h"

dlcore::Walks dlcore::walks;
#define DLCORE_BODY "walks/walks.inl"
#include "common/each_isa.h"
