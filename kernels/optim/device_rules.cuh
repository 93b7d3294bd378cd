// The rules of rules.cuh on a GPU, and the segments they work on.
#pragma once
#include "segments.cuh"

#define DLCORE_RULE __device__ inline
DLCORE_RULE float fma_(float x, float y, float z) { return fma(x, y, z); }
DLCORE_RULE double fma_(double x, double y, double z) { return fma(x, y, z); }
DLCORE_RULE float root(float x) { return sqrt(x); }
DLCORE_RULE double root(double x) { return sqrt(x); }
template <class C> DLCORE_RULE C magnitude(C x) { return fabs(x); }
template <class C> DLCORE_RULE C larger(C x, C y) { return y > x || y != y ? y : x; }
#include "rules.cuh"
