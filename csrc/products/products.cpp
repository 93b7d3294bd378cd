#define DLCORE_BODY "products/products.inl"
#include "common/each_isa.h"
