// A libcuda.so.1 without a GPU: memory is the host's, copies and fills happen at once, kernels do not run but are
// written down with the bytes of their parameters. Built by tests/test_cuda_runtime.py. The fake_... functions at the
// end are for the test.
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_CONTEXT = 201, NOT_FOUND = 500, CAPTURE_INVALID = 901 };
enum { MAX_RECORDS = 4096, MAX_BYTES = 32764, MAX_ATTRIBUTES = 8 };

typedef struct {
  char name[160];
  int shared_limit;
} Function;

typedef struct {  // CUlaunchAttribute
  _Alignas(8) int id;
  _Alignas(8) int value[16];
} Attribute;

typedef struct {  // CUlaunchConfig
  unsigned grid[3], block[3], shared;
  void *stream;
  const Attribute *attributes;
  unsigned count;
} Config;

typedef struct {
  int kind;  // 0 launch, 1 fill, 2 copy
  char name[160];
  unsigned grid[3], block[3], shared;
  size_t size;
  unsigned char bytes[MAX_BYTES];
  void *to;
  const void *from;
  size_t length;
  size_t attribute_count;
  Attribute attributes[MAX_ATTRIBUTES];
} Record;

typedef struct {
  Record *records;
  size_t count;
} Graph;

static Record log_[MAX_RECORDS];
static size_t logged;
static Graph capture;
static int capturing, fail_with, context;
static size_t used, limit = (size_t)1 << 30;
static _Thread_local void *current;

static int enter(void) { return current == &context ? OK : INVALID_CONTEXT; }

static Record *write_down(int kind) {
  if (capturing) {
    capture.records = realloc(capture.records, (capture.count + 1) * sizeof(Record));
    Record *r = &capture.records[capture.count++];
    memset(r, 0, sizeof *r);
    r->kind = kind;
    return r;
  }
  Record *r = &log_[logged++ % MAX_RECORDS];
  r->kind = kind;
  r->size = 0;
  return r;
}

static void perform(const Record *r) {
  if (r->kind == 1) memset(r->to, 0, r->length);
  if (r->kind == 2) memmove(r->to, r->from, r->length);
}

int cuInit(unsigned flags) { return flags ? INVALID_VALUE : OK; }
int cuDriverGetVersion(int *v) { return *v = 13000, OK; }
int cuDeviceGetCount(int *n) { return *n = 1, OK; }
int cuDeviceGet(int *id, int ordinal) { return *id = ordinal, ordinal ? 101 : OK; }
int cuDeviceGetName(char *name, int n, int id) { return snprintf(name, (size_t)n, "Fake GPU %d", id), OK; }
int cuDeviceGetAttribute(int *value, int attribute, int id) {
  *value = attribute == 75 ? 9 : attribute == 76 ? 0 : attribute == 16 ? 132 : attribute == 97 ? 232448 : 0;
  return id ? 101 : OK;
}
int cuDevicePrimaryCtxRetain(void **c, int id) { return *c = &context, id ? 101 : OK; }
int cuCtxGetCurrent(void **c) { return *c = current, OK; }
int cuCtxSetCurrent(void *c) { return current = c, OK; }
int cuStreamCreate(void **s, unsigned flags) { return *s = malloc(1), flags == 1 ? enter() : INVALID_VALUE; }
int cuStreamSynchronize(void *s) { return capturing ? CAPTURE_INVALID : s ? enter() : INVALID_VALUE; }
int cuStreamWaitEvent(void *s, void *e, unsigned flags) { return s && e && !flags ? OK : INVALID_VALUE; }
int cuEventCreate(void **e, unsigned flags) { return *e = malloc(1), flags == 2 ? enter() : INVALID_VALUE; }
int cuEventRecord(void *e, void *s) { return e && s ? OK : INVALID_VALUE; }
int cuMemAllocHost_v2(void **p, size_t n) { return (*p = calloc(1, n)) ? enter() : OUT_OF_MEMORY; }
int cuMemGetInfo_v2(size_t *free_, size_t *total) { return *free_ = limit - used, *total = limit, enter(); }

int cuMemcpyAsync(uint64_t to, uint64_t from, size_t n, void *s) {
  if (enter() || !s) return INVALID_CONTEXT;
  Record *r = write_down(2);
  r->to = (void *)to, r->from = (const void *)from, r->length = n;
  if (!capturing) perform(r);
  return OK;
}
int cuMemsetD8Async(uint64_t to, unsigned char value, size_t n, void *s) {
  if (enter() || !s || value) return INVALID_CONTEXT;
  Record *r = write_down(1);
  r->to = (void *)to;
  r->length = n;
  if (!capturing) perform(r);
  return OK;
}

int cuModuleLoadData(void **m, const void *image) {
  if (memcmp(image, "\177ELF", 4)) return 200;
  return *m = (void *)image, enter();
}
int cuModuleGetFunction(void **f, void *m, const char *name) {
  if (!m || !*name) return NOT_FOUND;
  Function *made = calloc(1, sizeof *made);
  snprintf(made->name, sizeof made->name, "%s", name);
  made->shared_limit = 48 << 10;
  return *f = made, enter();
}
int cuFuncSetAttribute(void *f, int attribute, int value) {
  if (attribute != 8 || value > 232448) return INVALID_VALUE;
  return ((Function *)f)->shared_limit = value, OK;
}
int cuLaunchKernelEx(const Config *config, void *f, void **params, void **extra) {
  if (enter() || !config->stream) return INVALID_CONTEXT;
  if (fail_with) {
    int status = fail_with;
    fail_with = 0;
    return status;
  }
  Function *function = f;
  if (params || extra[0] != (void *)1 || extra[2] != (void *)2 || extra[4]) return INVALID_VALUE;
  const unsigned *grid = config->grid, *block = config->block;
  if (!grid[0] || !grid[1] || !grid[2] || block[0] * block[1] * block[2] > 1024) return INVALID_VALUE;
  if (config->shared > (unsigned)function->shared_limit || config->count > MAX_ATTRIBUTES) return INVALID_VALUE;
  if (*(size_t *)extra[3] > MAX_BYTES) return INVALID_VALUE;
  for (unsigned k = 0; k < config->count; ++k) {
    const int *value = config->attributes[k].value;
    if (config->attributes[k].id != 4) continue;
    if (grid[0] % value[0] || grid[1] % value[1] || grid[2] % value[2]) return INVALID_VALUE;  // whole clusters
  }
  Record *r = write_down(0);
  memcpy(r->name, function->name, sizeof r->name);
  memcpy(r->grid, grid, sizeof r->grid);
  memcpy(r->block, block, sizeof r->block);
  r->shared = config->shared;
  r->size = *(size_t *)extra[3];
  memcpy(r->bytes, extra[1], r->size);
  r->attribute_count = config->count;
  if (config->count) memcpy(r->attributes, config->attributes, config->count * sizeof *r->attributes);
  return OK;
}

int cuStreamBeginCapture_v2(void *s, int mode) {
  if (capturing || !s || mode != 1) return INVALID_VALUE;
  capture = (Graph){0};
  return capturing = 1, enter();
}
int cuStreamEndCapture(void *s, void **graph) {
  if (!capturing || !s) return INVALID_VALUE;
  capturing = 0;
  Graph *made = malloc(sizeof *made);
  *made = capture;
  return *graph = made, OK;
}
int cuGraphGetNodes(void *graph, void **nodes, size_t *count) {
  return *count = ((Graph *)graph)->count, nodes ? INVALID_VALUE : OK;
}
int cuGraphInstantiateWithFlags(void **executable, void *graph, unsigned long long flags) {
  return *executable = graph, flags ? INVALID_VALUE : OK;
}
int cuGraphLaunch(void *executable, void *s) {
  if (enter() || !s) return INVALID_CONTEXT;
  Graph *graph = executable;
  for (size_t k = 0; k < graph->count; ++k) {
    perform(&graph->records[k]);
    log_[logged++ % MAX_RECORDS] = graph->records[k];
  }
  return OK;
}
int cuGraphExecDestroy(void *executable) { return executable ? OK : INVALID_VALUE; }
int cuGraphDestroy(void *graph) {
  free(((Graph *)graph)->records);
  return free(graph), OK;
}
int cuGetErrorString(int status, const char **text) {
  *text = status == 700 ? "an illegal memory access was encountered" : "a fake error";
  return OK;
}

// ---- for the test -------------------------------------------------------------------------------------------------
void *fake_alloc(size_t n) {  // null: over the limit
  if (used + n > limit) return NULL;
  size_t room = (n + 511) / 512 * 512;
  used += n;
  return memset(aligned_alloc(512, room), 0xFF, room);
}
void fake_free(void *p, size_t n) {
  used -= n;
  free(p);
}
void fake_limit(size_t bytes) { limit = bytes; }
size_t fake_used(void) { return used; }
void fake_fail(int status) { fail_with = status; }
size_t fake_count(void) { return logged; }
const Record *fake_record(size_t k) { return &log_[k % MAX_RECORDS]; }
