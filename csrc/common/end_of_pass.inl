// Ends the pass of one instruction set (see each_isa.h): the next one includes the shared files anew.
#undef DLCORE_ISA
#undef DLCORE_COMMON_ACTIVATIONS
#undef DLCORE_COMMON_DTYPES
#undef DLCORE_COMMON_FOLD
#undef DLCORE_COMMON_LINES
#undef DLCORE_COMMON_LOOP_NEST
#undef DLCORE_COMMON_MATH
#undef DLCORE_COMMON_NUMBERS
#undef DLCORE_COMMON_POINTWISE
#undef DLCORE_COMMON_REDUCTION
#undef DLCORE_COMMON_SIMD
#undef DLCORE_COMMON_STRIDED_COPY
