// What cuda.h declares of launches, as far as it is used here.
#pragma once
#include <stdint.h>

#define LAUNCH_BUFFER ((void *)1)       // CU_LAUNCH_PARAM_BUFFER_POINTER
#define LAUNCH_BUFFER_SIZE ((void *)2)  // CU_LAUNCH_PARAM_BUFFER_SIZE
enum { COOPERATIVE = 2, CLUSTER_DIMENSION = 4, PROGRAMMATIC_SERIALIZATION = 6 };  // CUlaunchAttributeID

typedef union {
  char bytes[64];
  unsigned words[16];
  uint64_t aligned;
} LaunchValue;
typedef struct {
  unsigned id, padding;
  LaunchValue value;
} LaunchAttribute;
typedef struct {
  unsigned grid[3], block[3], shared;
  void *stream;
  LaunchAttribute *attributes;
  unsigned n_attributes;
} LaunchConfig;

enum { TENSOR_MAP = 0 };  // in the place of an alignment: the parameter is a tensor map
#define TENSOR_MAP_MARK "faKe map"  // of its third byte dlcore clears bit 5, as with drivers for CUDA 13.1 and older
