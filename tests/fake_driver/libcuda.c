// A libcuda.so.1 without a GPU, which refuses what a driver refuses.
//
// Memory of the device is mapped twice: where its addresses point nobody may read or write, so that the host's access
// to it is a segmentation fault as it is on a machine with a GPU; the driver reaches it through the second mapping.
// Copies and fills happen at once, except between the device and page-locked memory of the host: those happen when
// somebody waits, as late as a GPU may do them. Kernels do not run; they are written down with their parameters.
//
// What a GPU would find while a kernel runs (an address that is not mapped, or not aligned) is refused at the launch.
// What a GPU would not find, two streams that use a block of which one writes, with nothing that puts them in order, is
// among the refusals too, though the call succeeds.
// Any number of threads may call; the fake_... functions at the end are for tests. __init__.py is the way to use it.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "abi.h"
#include "cubin.h"

enum {
  OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, INVALID_DEVICE = 101, INVALID_IMAGE = 200,
  INVALID_CONTEXT = 201, NO_BINARY = 209, INVALID_HANDLE = 400, ILLEGAL_STATE = 401, NOT_FOUND = 500, NOT_READY = 600,
  ILLEGAL_ADDRESS = 700, OUT_OF_RESOURCES = 701, ALREADY_REGISTERED = 712, NOT_REGISTERED = 713, MISALIGNED = 716,
  COOPERATIVE_TOO_LARGE = 720, CAPTURE_UNSUPPORTED = 900, CAPTURE_INVALIDATED = 901, CAPTURE_ISOLATION = 905,
  CAPTURED_EVENT = 907, CAPTURE_WRONG_THREAD = 908, INVALID_CLUSTER = 912
};
enum { LAUNCH, FILL, COPY, EVENT, WAIT, SYNCHRONIZE };
enum { MAX_DEVICES = 4, MAX_RECORDS = 1 << 14, MAX_PARAMS = 32764, MAX_REFUSALS = 64, MAX_STACK = 16,
       MAX_STREAMS = 256, MAX_USERS = 4 };
static const size_t kGap = 512, kPoisoned = 1 << 20, kHandles = 1 << 20;

typedef struct Object Object;
typedef struct {
  int kind;
  char name[MAX_NAME];
  unsigned grid[3], block[3], shared;
  size_t size;  // of the parameters
  uint64_t to, from;  // of an event: its handle
  size_t length;
  Object *stream;
  long thread;  // that asked for it, as gettid() says
  int in_graph;
  unsigned attributes, cluster[3];  // bit k: attribute k of the launch was set
  unsigned char *bytes;
  Object *function;
} Record;

typedef struct { unsigned ordinal, offset, alignment, written; } Requirement;
typedef struct { uint64_t done[MAX_STREAMS]; } Clock;  // of each stream, how many commands come before
typedef enum { NOTHING, CONTEXT, STREAM, EVENT_HANDLE, MODULE, FUNCTION, GRAPH, EXECUTABLE, NODE, DEAD } Type;
struct Object {  // what a handle points to
  Type type;
  Object *context;  // that it belongs to
  int device;
  Clock *clock;  // of a stream, and of an event that was recorded
  // a stream
  int number, blocking;
  int capturing, mode, spoiled, pending;
  long capturer;
  Record *deferred;
  size_t n_deferred;
  // what a stream captures; a graph
  Record *nodes;
  size_t n_nodes;
  // an event
  unsigned flags;
  int recorded, queries;
  double time;
  Object *recorded_on;
  int captured;
  // a module, a function, a node
  Cubin cubin;
  Kernel *kernel;
  int shared_limit, loaded;
  Requirement *requirements;
  size_t n_requirements;
  int kind;
};

typedef struct { Object *stream; uint64_t read, written; } Use;  // the number of its last command that did
typedef struct { char *at; size_t size; Use uses[MAX_USERS]; } Block;
typedef struct { Block *blocks; size_t count, room; } Blocks;  // by address

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int initialised, forked, lost, strict, lag, n_devices = 1, arch = 90;
static char fail_function[64];
static int fail_with, fail_after;
static Object *handles;
static size_t n_handles;
static Object *contexts[MAX_DEVICES], *legacy[MAX_DEVICES];
static Record log_[MAX_RECORDS];
static size_t logged;
static char refusals[MAX_REFUSALS][256];
static size_t refused;
static char *device_memory, *host_memory;  // the same pages
static size_t span, cursor[MAX_DEVICES], used[MAX_DEVICES], limit[MAX_DEVICES];
static int memory_file = -1;
static Blocks live, pinned;
static double now = 1;  // milliseconds
static Object *streams[MAX_STREAMS];
static int n_streams;
static Clock waited;  // what the host has waited for
static _Thread_local Object *stack[MAX_STACK];
static _Thread_local int depth;

// ---- entering -----------------------------------------------------------------------------------------------------
static void unlock(const int *unused) { (void)unused, pthread_mutex_unlock(&mutex); }
#define LOCKED __attribute__((cleanup(unlock), unused)) const int locked = pthread_mutex_lock(&mutex)
#define TRY(...)                     \
  do {                               \
    const int status_ = __VA_ARGS__; \
    if (status_) return status_;     \
  } while (0)

static int sticky(int status) {  // after which the context is lost
  return status == ILLEGAL_ADDRESS || status == 702 || status == 710 || (status >= 714 && status <= 719);
}

__attribute__((format(printf, 2, 3))) static int refuse(int status, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  char *to = refusals[refused++ % MAX_REFUSALS];
  const int n = status ? snprintf(to, sizeof refusals[0], "error %d: ", status) : 0;
  vsnprintf(to + n, sizeof refusals[0] - (size_t)n, format, arguments);
  va_end(arguments);
  if (sticky(status)) lost = status;
  return status;
}

static void in_child(void) {
  forked = 1;
  pthread_mutex_init(&mutex, NULL);
}

static int begun(const char *function) {  // enough for devices and contexts, also after an error that lasts
  if (forked) return refuse(NOT_INITIALIZED, "%s: in a process forked from the one that called cuInit", function);
  if (!initialised) return refuse(NOT_INITIALIZED, "%s: before cuInit", function);
  return OK;
}

static int ready(const char *function) {
  TRY(begun(function));
  if (lost) return lost;
  if (fail_with && !strncmp(function, fail_function, strlen(fail_function)) && !fail_after--) {
    const int status = fail_with;
    fail_with = 0;
    return refuse(status, "%s: as the test has asked", function);
  }
  return OK;
}

static Object *current(void) { return depth ? stack[depth - 1] : NULL; }

static int enter(const char *function) {
  TRY(ready(function));
  return current() ? OK : refuse(INVALID_CONTEXT, "%s: no context is current", function);
}

// ---- handles: never used twice, so that one that is gone is known -------------------------------------------------
static Object *new_object(Type type, Object *context) {
  if (!handles) {
    handles = mmap(NULL, kHandles * sizeof *handles, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    if (handles == MAP_FAILED) abort();
  }
  if (n_handles == kHandles) abort();
  Object *made = &handles[n_handles++];
  made->type = type;
  made->context = context;
  made->device = context ? context->device : 0;
  return made;
}

static Object *known(const void *handle, Type type) {  // null where it is no such thing
  const uintptr_t at = (uintptr_t)handle - (uintptr_t)handles;
  if (!handles || at >= n_handles * sizeof *handles || at % sizeof *handles) return NULL;
  Object *found = &handles[at / sizeof *handles];
  return found->type == type ? found : NULL;
}

static int find(const char *function, const void *handle, Type type, const char *what, Object **to) {
  *to = known(handle, type);
  return *to ? OK : refuse(INVALID_HANDLE, "%s: %p is no %s, or is gone", function, handle, what);
}

static Object *new_stream(Object *context, int blocking) {
  if (n_streams == MAX_STREAMS) abort();
  Object *made = new_object(STREAM, context);
  made->number = n_streams;
  made->blocking = blocking;
  made->clock = calloc(1, sizeof *made->clock);
  return streams[n_streams++] = made;
}

static int find_stream(const char *function, void *handle, Object **to) {
  if ((uintptr_t)handle > 2) return find(function, handle, STREAM, "stream", to);
  Object *context = current();  // null, 1, 2: the default streams
  if (!legacy[context->device]) legacy[context->device] = new_stream(context, 1);
  return *to = legacy[context->device], OK;
}

// ---- memory -------------------------------------------------------------------------------------------------------
static size_t above(const Blocks *b, const void *p) {  // the first block that begins after p
  size_t low = 0, high = b->count;
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (b->blocks[middle].at <= (const char *)p) low = middle + 1;
    else high = middle;
  }
  return low;
}

static Block *holding(const Blocks *b, const void *p, size_t n) {
  const size_t k = above(b, p);
  if (!k) return NULL;
  Block *found = &b->blocks[k - 1];
  const size_t offset = (size_t)((const char *)p - found->at);
  return offset <= found->size && n <= found->size - offset ? found : NULL;
}

static void add_block(Blocks *b, char *at, size_t size) {
  if (b->count == b->room) b->blocks = realloc(b->blocks, (b->room = 2 * b->room + 64) * sizeof(Block));
  const size_t k = above(b, at);
  memmove(b->blocks + k + 1, b->blocks + k, (b->count++ - k) * sizeof(Block));
  b->blocks[k] = (Block){.at = at, .size = size};
}

static void remove_block(Blocks *b, Block *block) {
  const size_t k = (size_t)(block - b->blocks);
  memmove(block, block + 1, (--b->count - k) * sizeof(Block));
}

static void map_memory(void) {
  memory_file = memfd_create("gpu", MFD_CLOEXEC);
  for (span = (size_t)32 << 30; span >= (size_t)64 << 20; span /= 2) {  // less where address space is limited
    const size_t all = span * MAX_DEVICES;
    if (ftruncate(memory_file, (off_t)all)) abort();
    host_memory = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, memory_file, 0);
    if (host_memory == MAP_FAILED) continue;
    device_memory = mmap(NULL, all, PROT_NONE, MAP_SHARED | MAP_NORESERVE, memory_file, 0);
    if (device_memory != MAP_FAILED) return;
    munmap(host_memory, all);
  }
  fprintf(stderr, "the fake driver finds no room for a GPU's memory: %s\n", strerror(errno));
  abort();
}

static int on_device(const void *p) {
  return (const char *)p >= device_memory && (const char *)p < device_memory + span * MAX_DEVICES;
}
static int device_of(const void *p) { return (int)((size_t)((const char *)p - device_memory) / span); }
static void *reach(uint64_t p) {
  return on_device((void *)p) ? host_memory + ((char *)p - device_memory) : (void *)p;
}

static char *room_for(int device, size_t n) {  // the next gap, so that addresses come back late
  char *begin = device_memory + (size_t)device * span, *end = begin + span;
  for (int round = 0; round < 2; ++round) {
    char *at = round ? begin : begin + cursor[device];
    for (size_t k = above(&live, at); at + n + kGap <= end; ++k) {
      if (k && live.blocks[k - 1].at + live.blocks[k - 1].size + kGap > at) {
        at = live.blocks[k - 1].at + live.blocks[k - 1].size + kGap;
      }
      at += -(uintptr_t)at % 512;
      if (at + n + kGap > end) break;
      if (k == live.count || live.blocks[k].at >= at + n + kGap) return at;
    }
  }
  return NULL;
}

static int free_memory(uint64_t address) {
  Block *block = holding(&live, (void *)address, 0);
  if (!block || block->at != (char *)address) {
    return refuse(INVALID_VALUE, "cuMemFree: %p is no block, or has been freed", (void *)address);
  }
  used[device_of(block->at)] -= block->size;
  if (block->size > kPoisoned) {
    fallocate(memory_file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, block->at - device_memory, (off_t)block->size);
  }
  return remove_block(&live, block), OK;
}

// Where the n bytes at p lie: 1 in the device's memory, 0 in the host's, an error where in a block that is not there.
static int place_of(const char *function, uint64_t p, size_t n, int *on) {
  if (!(*on = on_device((void *)p)) || !n || holding(&live, (void *)p, n)) return OK;
  return refuse(INVALID_VALUE, "%s: %zu bytes at %p are in no live block", function, n, (void *)p);
}

// ---- order between streams ----------------------------------------------------------------------------------------
static void follow(Clock *later, const Clock *earlier) {
  for (int k = 0; k < n_streams; ++k) {
    if (later->done[k] < earlier->done[k]) later->done[k] = earlier->done[k];
  }
}

// A stream's next command: after its others, and after what the host had waited for when it asked. A default stream and
// those that are not made with CU_STREAM_NON_BLOCKING wait for each other.
static void next_command(Object *stream) {
  follow(stream->clock, &waited);
  const Object *first = legacy[stream->device];
  if (stream == first) {
    for (int k = 0; k < n_streams; ++k) {
      if (streams[k]->blocking && streams[k]->device == stream->device) follow(stream->clock, streams[k]->clock);
    }
  } else if (stream->blocking && first) {
    follow(stream->clock, first->clock);
  }
  ++stream->clock->done[stream->number];
}

// That the stream's command uses the block at an address; notes it where another stream's use is in no order with it.
static void use(const char *function, Object *stream, uint64_t address, int writes) {
  Block *block = on_device((void *)address) ? holding(&live, (void *)address, 0) : NULL;
  if (!block) return;
  Use *own = NULL, *oldest = block->uses;
  int told = 0;
  for (Use *u = block->uses; u < block->uses + MAX_USERS; ++u) {
    if (u->stream == stream) own = u;
    if (!u->stream || u->read + u->written < oldest->read + oldest->written) oldest = u;
    if (!u->stream || u->stream == stream) continue;
    const uint64_t last = writes && u->read > u->written ? u->read : u->written;
    if (!told && last > stream->clock->done[u->stream->number]) {
      told = 1;
      refuse(OK, "%s: stream %p %s the block at %p of %zu bytes, in no order with what stream %p does with it", function,
             (void *)stream, writes ? "writes" : "reads", (void *)block->at, block->size, (void *)u->stream);
    }
  }
  if (!own) *(own = oldest) = (Use){.stream = stream};
  *(writes ? &own->written : &own->read) = stream->clock->done[stream->number];
}

static void use_all(const char *function, Object *stream, const Record *r) {
  if (r->kind == COPY && r->length) use(function, stream, r->from, 0);
  if ((r->kind == COPY || r->kind == FILL) && r->length) use(function, stream, r->to, 1);
  for (size_t n = 0; r->kind == LAUNCH && n < r->function->n_requirements; ++n) {
    const Requirement *q = &r->function->requirements[n];
    uint64_t address;
    memcpy(&address, r->bytes + r->function->kernel->parameters[q->ordinal].offset + q->offset, sizeof address);
    use(function, stream, address, (int)q->written);
  }
}

// ---- work ---------------------------------------------------------------------------------------------------------
static void perform(const Record *r) {
  if (r->kind == FILL) memset(reach(r->to), r->bytes ? *r->bytes : 0, r->length);
  if (r->kind == COPY) memmove(reach(r->to), reach(r->from), r->length);
}

static void finish(Object *stream) {
  for (size_t k = 0; k < stream->n_deferred; ++k) perform(&stream->deferred[k]);
  free(stream->deferred);
  stream->deferred = NULL;
  stream->n_deferred = 0;
  stream->pending = 0;
}

static void await(Object *stream) {  // the host does
  finish(stream);
  follow(&waited, stream->clock);
}

static void await_all(void) {
  for (int k = 0; k < n_streams; ++k) await(streams[k]);
}

static void append(Record **records, size_t *count, Record r) {
  *records = realloc(*records, (*count + 1) * sizeof r);
  (*records)[(*count)++] = r;
}

static void write_log(Record r) {
  Record *to = &log_[logged++ % MAX_RECORDS];
  free(to->bytes);
  *to = r;
  if (r.bytes) to->bytes = memcpy(malloc(r.size + 1), r.bytes, r.size);
}

// What a stream is asked to do: a node where it is being captured, else done now. Owns r.bytes.
static int submit(const char *function, Object *stream, Record r) {
  r.stream = stream;
  r.thread = gettid();
  now += 0.002 + (double)r.length * 1e-9;
  if (!stream->capturing) {
    stream->pending = lag;
    next_command(stream);
    use_all(function, stream, &r);
    write_log(r);
    const int host = r.kind == COPY && (holding(&pinned, (void *)r.to, 0) || holding(&pinned, (void *)r.from, 0));
    if (host) {
      append(&stream->deferred, &stream->n_deferred, r);
    } else if (r.kind == COPY || r.kind == FILL) {
      finish(stream);
      perform(&r);
      stream->pending = lag;
      if (r.kind == COPY && r.length && !on_device((void *)r.to)) await(stream);  // to pageable memory
    }
    free(r.bytes);
    return OK;
  }
  if (strict && stream->capturer != r.thread) {
    free(r.bytes);
    return refuse(CAPTURE_WRONG_THREAD, "%s: on a stream that thread %ld captures, from thread %ld", function,
                  stream->capturer, r.thread);
  }
  append(&stream->nodes, &stream->n_nodes, r);
  return OK;
}

// What may not happen while a stream is captured: by any thread where its mode is global, else by the same one.
static int unsafe(const char *function) {
  for (size_t k = 0; k < n_handles; ++k) {
    Object *s = &handles[k];
    if (s->type != STREAM || !s->capturing || s->mode == 2 || (s->mode == 1 && s->capturer != gettid())) continue;
    s->spoiled = 1;
    return refuse(CAPTURE_UNSUPPORTED, "%s: while a stream is captured", function);
  }
  return OK;
}

static int not_captured(const char *function, Object *stream) {
  if (!stream->capturing) return OK;
  stream->spoiled = 1;
  return refuse(CAPTURE_UNSUPPORTED, "%s: of a stream that is captured", function);
}

static int here(const char *function, const Object *thing) {  // whether it belongs to the current context
  if (thing->context == current()) return OK;
  return refuse(INVALID_HANDLE, "%s: a handle of another context than the current one", function);
}

// ---- the driver, its devices, contexts ----------------------------------------------------------------------------
typedef struct { int arch, multiprocessors, shared; } Card;
static const Card cards[] = {{80, 108, 163 << 10}, {86, 82, 99 << 10},    {89, 128, 99 << 10},  {90, 132, 227 << 10},
                             {100, 148, 227 << 10}, {103, 148, 227 << 10}, {120, 170, 99 << 10}, {121, 48, 99 << 10}};
static const Card *card(void) {
  for (size_t k = 0; k < sizeof cards / sizeof *cards; ++k) {
    if (cards[k].arch == arch) return &cards[k];
  }
  abort();
}

static size_t setting(const char *name, size_t otherwise) {
  const char *text = getenv(name);
  return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

int cuInit(unsigned flags) {
  LOCKED;
  if (flags) return refuse(INVALID_VALUE, "cuInit: flags");
  if (forked) return begun("cuInit");
  if (initialised) return OK;
  n_devices = (int)setting("FAKE_CUDA_DEVICES", 1);
  arch = (int)setting("FAKE_CUDA_ARCH", 90);
  if (n_devices > MAX_DEVICES) abort();
  map_memory();
  for (int k = 0; k < MAX_DEVICES; ++k) limit[k] = setting("FAKE_CUDA_MEMORY", (size_t)8 << 30);
  pthread_atfork(NULL, NULL, in_child);
  return initialised = 1, OK;
}
int cuDriverGetVersion(int *version) { return *version = 13000, OK; }
int cuDeviceGetCount(int *n) {
  LOCKED;
  return *n = n_devices, begun("cuDeviceGetCount");
}
static int device(const char *function, int id) {
  TRY(begun(function));
  return id >= 0 && id < n_devices ? OK : refuse(INVALID_DEVICE, "%s: there is no device %d", function, id);
}
int cuDeviceGet(int *id, int ordinal) {
  LOCKED;
  return *id = ordinal, device("cuDeviceGet", ordinal);
}
int cuDeviceGetName(char *name, int n, int id) {
  LOCKED;
  return snprintf(name, (size_t)n, "Fake GPU %d", id), device("cuDeviceGetName", id);
}
int cuDeviceGetAttribute(int *value, int attribute, int id) {
  LOCKED;
  TRY(device("cuDeviceGetAttribute", id));
  static const int known_[][2] = {{1, 1024},  {2, 1024},  {3, 1024},  {4, 64},    {5, 2147483647}, {6, 65535},
                                  {7, 65535}, {8, 49152}, {10, 32},   {12, 65536}, {39, 2048},     {41, 1},
                                  {82, 65536}, {95, 1}};
  *value = attribute == 75   ? arch / 10
           : attribute == 76 ? arch % 10
           : attribute == 16 ? card()->multiprocessors
           : attribute == 97 ? card()->shared
           : attribute == 81 ? card()->shared + RESERVED_SHARED
                             : 0;
  for (size_t k = 0; k < sizeof known_ / sizeof *known_; ++k) {
    if (known_[k][0] == attribute) *value = known_[k][1];
  }
  return attribute > 0 && attribute < 160 ? OK : refuse(INVALID_VALUE, "cuDeviceGetAttribute: %d", attribute);
}
int cuDevicePrimaryCtxRetain(void **context, int id) {
  LOCKED;
  TRY(device("cuDevicePrimaryCtxRetain", id));
  if (!contexts[id]) {
    contexts[id] = new_object(CONTEXT, NULL);
    contexts[id]->device = id;
  }
  return *context = contexts[id], OK;
}
int cuDevicePrimaryCtxRelease_v2(int id) {
  LOCKED;
  return device("cuDevicePrimaryCtxRelease", id);
}
int cuCtxGetCurrent(void **context) {
  LOCKED;
  TRY(begun("cuCtxGetCurrent"));
  return *context = current(), OK;
}
static int context_of(const char *function, void *context) {
  TRY(begun(function));
  if (!context || known(context, CONTEXT)) return OK;
  return refuse(INVALID_CONTEXT, "%s: %p is no context", function, context);
}
int cuCtxSetCurrent(void *context) {
  LOCKED;
  TRY(context_of("cuCtxSetCurrent", context));
  if (!depth) depth = 1;
  return stack[depth - 1] = context, OK;
}
int cuCtxPushCurrent_v2(void *context) {
  LOCKED;
  TRY(context_of("cuCtxPushCurrent", context));
  if (depth == MAX_STACK) return refuse(INVALID_CONTEXT, "cuCtxPushCurrent: %d contexts are there", depth);
  return stack[depth++] = context, OK;
}
int cuCtxPopCurrent_v2(void **context) {
  LOCKED;
  TRY(begun("cuCtxPopCurrent"));
  if (!depth) return refuse(INVALID_CONTEXT, "cuCtxPopCurrent: there is none");
  Object *popped = stack[--depth];
  if (context) *context = popped;
  return OK;
}
int cuCtxGetDevice(int *id) {
  LOCKED;
  TRY(enter("cuCtxGetDevice"));
  return *id = current()->device, OK;
}
int cuCtxSynchronize(void) {
  LOCKED;
  TRY(enter("cuCtxSynchronize"));
  TRY(unsafe("cuCtxSynchronize"));
  return await_all(), OK;
}

// ---- memory -------------------------------------------------------------------------------------------------------
int cuMemGetInfo_v2(size_t *free_, size_t *total) {
  LOCKED;
  TRY(enter("cuMemGetInfo"));
  const int d = current()->device;
  *total = limit[d];
  return *free_ = limit[d] > used[d] ? limit[d] - used[d] : 0, OK;
}
int cuMemAlloc_v2(uint64_t *address, size_t n) {
  LOCKED;
  TRY(enter("cuMemAlloc"));
  TRY(unsafe("cuMemAlloc"));
  const int d = current()->device;
  if (!n) return refuse(INVALID_VALUE, "cuMemAlloc: of no bytes");
  if (used[d] + n > limit[d]) return OUT_OF_MEMORY;
  char *at = room_for(d, n);
  if (!at) return OUT_OF_MEMORY;
  used[d] += n;
  cursor[d] = (size_t)(at + n - (device_memory + (size_t)d * span));
  add_block(&live, at, n);
  memset(reach((uint64_t)at), 0xFF, n < kPoisoned ? n : kPoisoned);
  return *address = (uint64_t)at, OK;
}
int cuMemFree_v2(uint64_t address) {
  LOCKED;
  TRY(enter("cuMemFree"));
  TRY(unsafe("cuMemFree"));
  if (!address) return OK;
  await_all();  // freeing waits for what is going on
  return free_memory(address);
}
int cuMemAllocHost_v2(void **address, size_t n) {
  LOCKED;
  TRY(enter("cuMemAllocHost"));
  TRY(unsafe("cuMemAllocHost"));
  if (posix_memalign(address, 4096, n + 1)) return OUT_OF_MEMORY;
  memset(*address, 0, n);
  return add_block(&pinned, *address, n), OK;
}
static int unpin(const char *function, void *address, int status) {
  Block *block = holding(&pinned, address, 0);
  if (!block || block->at != (char *)address) return refuse(status, "%s: %p is not page-locked", function, address);
  await_all();
  return remove_block(&pinned, block), OK;
}
int cuMemFreeHost(void *address) {
  LOCKED;
  TRY(enter("cuMemFreeHost"));
  TRY(unpin("cuMemFreeHost", address, INVALID_VALUE));
  return free(address), OK;
}
int cuMemHostRegister_v2(void *address, size_t n, unsigned flags) {
  LOCKED;
  TRY(enter("cuMemHostRegister"));
  TRY(unsafe("cuMemHostRegister"));
  if (!address || !n || flags > 0xf) return refuse(INVALID_VALUE, "cuMemHostRegister: %zu bytes at %p", n, address);
  const size_t next = above(&pinned, address);
  if (holding(&pinned, address, 0) || (next < pinned.count && pinned.blocks[next].at < (char *)address + n)) {
    return refuse(ALREADY_REGISTERED, "cuMemHostRegister: %p is page-locked", address);
  }
  return add_block(&pinned, address, n), OK;
}
int cuMemHostUnregister(void *address) {
  LOCKED;
  TRY(enter("cuMemHostUnregister"));
  return unpin("cuMemHostUnregister", address, NOT_REGISTERED);
}
int cuPointerGetAttribute(void *to, int attribute, uint64_t address) {
  LOCKED;
  TRY(enter("cuPointerGetAttribute"));
  const int there = on_device((void *)address);
  if (there ? !holding(&live, (void *)address, 1) : !holding(&pinned, (void *)address, 1)) {
    return refuse(INVALID_VALUE, "cuPointerGetAttribute: of memory that the driver does not know");
  }
  switch (attribute) {
    case 1: return *(void **)to = contexts[there ? device_of((void *)address) : 0], OK;
    case 2: return *(unsigned *)to = there ? 2 : 1, OK;  // CU_MEMORYTYPE_DEVICE, _HOST
    case 3: return *(uint64_t *)to = address, OK;
    case 4: return there ? INVALID_VALUE : (*(uint64_t *)to = address, OK);
    case 9: return *(int *)to = there ? device_of((void *)address) : 0, OK;
    default: return refuse(INVALID_VALUE, "cuPointerGetAttribute: attribute %d", attribute);
  }
}
int cuPointerGetAttributes(unsigned n, const int *attributes, void **to, uint64_t address) {  // zeros, where unknown
  LOCKED;
  TRY(enter("cuPointerGetAttributes"));
  const int there = on_device((void *)address);
  const int known = there ? !!holding(&live, (void *)address, 1) : !!holding(&pinned, (void *)address, 1);
  for (unsigned k = 0; k < n; ++k) {
    if (attributes[k] != 2) return refuse(INVALID_VALUE, "cuPointerGetAttributes: attribute %d", attributes[k]);
    *(unsigned *)to[k] = known ? (there ? 2 : 1) : 0;
  }
  return OK;
}

int cuMemcpyAsync(uint64_t to, uint64_t from, size_t n, void *handle) {
  LOCKED;
  TRY(enter("cuMemcpyAsync"));
  Object *stream;
  int to_there, from_there;
  TRY(find_stream("cuMemcpyAsync", handle, &stream));
  TRY(place_of("cuMemcpyAsync", to, n, &to_there));
  TRY(place_of("cuMemcpyAsync", from, n, &from_there));
  const int pageable = n && ((!to_there && !holding(&pinned, (void *)to, n)) ||
                             (!from_there && !holding(&pinned, (void *)from, n)));
  if (pageable && stream->capturing) {
    stream->spoiled = 1;
    return refuse(CAPTURE_UNSUPPORTED, "cuMemcpyAsync: of pageable memory of the host, on a stream that is captured");
  }
  return submit("cuMemcpyAsync", stream, (Record){.kind = COPY, .to = to, .from = from, .length = n});
}
int cuMemsetD8Async(uint64_t to, unsigned char value, size_t n, void *handle) {
  LOCKED;
  TRY(enter("cuMemsetD8Async"));
  Object *stream;
  int there;
  TRY(find_stream("cuMemsetD8Async", handle, &stream));
  TRY(place_of("cuMemsetD8Async", to, n, &there));
  if (n && !there) return refuse(INVALID_VALUE, "cuMemsetD8Async: %p is memory of the host", (void *)to);
  Record r = {.kind = FILL, .to = to, .length = n, .size = 1, .bytes = malloc(1)};
  *r.bytes = value;
  return submit("cuMemsetD8Async", stream, r);
}

// ---- streams and events -------------------------------------------------------------------------------------------
int cuStreamCreate(void **stream, unsigned flags) {
  LOCKED;
  TRY(enter("cuStreamCreate"));
  if (flags > 1) return refuse(INVALID_VALUE, "cuStreamCreate: flags %u", flags);
  return *stream = new_stream(current(), !flags), OK;
}
int cuStreamDestroy_v2(void *handle) {
  LOCKED;
  TRY(enter("cuStreamDestroy"));
  Object *stream;
  TRY(find("cuStreamDestroy", handle, STREAM, "stream", &stream));
  finish(stream);
  return stream->type = DEAD, OK;  // its clock is still asked for
}
static int synchronize(const char *function, Object *stream) {
  TRY(not_captured(function, stream));
  await(stream);
  write_log((Record){.kind = SYNCHRONIZE, .stream = stream, .thread = gettid()});
  return OK;
}
int cuStreamSynchronize(void *handle) {
  LOCKED;
  TRY(enter("cuStreamSynchronize"));
  Object *stream;
  TRY(find_stream("cuStreamSynchronize", handle, &stream));
  return synchronize("cuStreamSynchronize", stream);
}
int cuStreamQuery(void *handle) {
  LOCKED;
  TRY(enter("cuStreamQuery"));
  Object *stream;
  TRY(find_stream("cuStreamQuery", handle, &stream));
  TRY(not_captured("cuStreamQuery", stream));
  TRY(unsafe("cuStreamQuery"));
  if (stream->pending && stream->pending--) return NOT_READY;
  return await(stream), OK;
}
int cuStreamWaitEvent(void *handle, void *event_handle, unsigned flags) {
  LOCKED;
  TRY(enter("cuStreamWaitEvent"));
  Object *stream, *event;
  TRY(find_stream("cuStreamWaitEvent", handle, &stream));
  TRY(find("cuStreamWaitEvent", event_handle, EVENT_HANDLE, "event", &event));
  if (flags) return refuse(INVALID_VALUE, "cuStreamWaitEvent: flags %u", flags);
  if (stream->capturing != event->captured || (stream->capturing && event->recorded_on != stream)) {
    stream->spoiled = stream->capturing;
    return refuse(CAPTURE_ISOLATION, "cuStreamWaitEvent: one of stream and event is captured, the other is not");
  }
  if (event->recorded_on && !event->captured) finish(event->recorded_on);
  if (stream->capturing) return OK;
  if (event->clock) follow(stream->clock, event->clock);
  return submit("cuStreamWaitEvent", stream, (Record){.kind = WAIT, .to = (uint64_t)event});
}
int cuEventCreate(void **event, unsigned flags) {
  LOCKED;
  TRY(enter("cuEventCreate"));
  if (flags > 7) return refuse(INVALID_VALUE, "cuEventCreate: flags %u", flags);
  Object *made = new_object(EVENT_HANDLE, current());
  made->flags = flags;
  return *event = made, OK;
}
int cuEventDestroy_v2(void *handle) {
  LOCKED;
  TRY(enter("cuEventDestroy"));
  Object *event;
  TRY(find("cuEventDestroy", handle, EVENT_HANDLE, "event", &event));
  free(event->clock);
  return event->type = DEAD, OK;
}
int cuEventRecord(void *handle, void *stream_handle) {
  LOCKED;
  TRY(enter("cuEventRecord"));
  Object *event, *stream;
  TRY(find("cuEventRecord", handle, EVENT_HANDLE, "event", &event));
  TRY(find_stream("cuEventRecord", stream_handle, &stream));
  if (event->context != stream->context) {
    return refuse(INVALID_HANDLE, "cuEventRecord: the event and the stream belong to different contexts");
  }
  event->recorded = 1;
  event->recorded_on = stream;
  event->captured = stream->capturing;
  event->queries = lag;
  if (stream->capturing) return OK;
  TRY(submit("cuEventRecord", stream, (Record){.kind = EVENT, .to = (uint64_t)event}));
  if (!event->clock) event->clock = malloc(sizeof *event->clock);
  *event->clock = *stream->clock;
  return event->time = now, OK;
}
static void await_event(Object *event) {
  event->queries = 0;
  if (event->recorded_on) finish(event->recorded_on);
  if (event->clock) follow(&waited, event->clock);
}
static int event_of(const char *function, void *handle, Object **event) {
  TRY(enter(function));
  TRY(find(function, handle, EVENT_HANDLE, "event", event));
  return (*event)->captured ? refuse(CAPTURED_EVENT, "%s: of an event recorded in a capture", function) : OK;
}
int cuEventQuery(void *handle) {
  LOCKED;
  Object *event;
  TRY(event_of("cuEventQuery", handle, &event));
  TRY(unsafe("cuEventQuery"));
  if (event->queries && event->queries--) return NOT_READY;
  return await_event(event), OK;
}
int cuEventSynchronize(void *handle) {
  LOCKED;
  Object *event;
  TRY(event_of("cuEventSynchronize", handle, &event));
  return await_event(event), OK;
}
int cuEventElapsedTime(float *milliseconds, void *first, void *last) {
  LOCKED;
  Object *from, *to;
  TRY(event_of("cuEventElapsedTime", first, &from));
  TRY(event_of("cuEventElapsedTime", last, &to));
  if (!from->recorded || !to->recorded || (from->flags | to->flags) & 2 || from->context != to->context) {
    return refuse(INVALID_HANDLE, "cuEventElapsedTime: of events not recorded, without times, or of two contexts");
  }
  if (from->queries || to->queries) return NOT_READY;
  return *milliseconds = (float)(to->time - from->time), OK;
}
int cuEventElapsedTime_v2(float *milliseconds, void *first, void *last) {
  return cuEventElapsedTime(milliseconds, first, last);
}

// ---- modules, functions, launches ---------------------------------------------------------------------------------
int cuModuleLoadData(void **module, const void *image) {
  LOCKED;
  TRY(enter("cuModuleLoadData"));
  TRY(unsafe("cuModuleLoadData"));
  Cubin cubin;
  if (!read_cubin(image, &cubin)) return refuse(INVALID_IMAGE, "cuModuleLoadData: no cubin");
  if (cubin.arch / 10 != arch / 10 || cubin.arch > arch) {
    free(cubin.kernels);
    return refuse(NO_BINARY, "cuModuleLoadData: a cubin for sm_%d on a GPU of sm_%d", cubin.arch, arch);
  }
  Object *made = new_object(MODULE, current());
  made->cubin = cubin;
  return *module = made, OK;
}
int cuModuleGetFunction(void **function, void *handle, const char *name) {
  LOCKED;
  TRY(enter("cuModuleGetFunction"));
  Object *module;
  TRY(find("cuModuleGetFunction", handle, MODULE, "module", &module));
  for (size_t k = 0; k < module->cubin.count; ++k) {
    if (strcmp(module->cubin.kernels[k].name, name)) continue;
    Object *made = new_object(FUNCTION, module->context);
    made->kernel = &module->cubin.kernels[k];
    made->shared_limit = (48 << 10) - (int)made->kernel->shared;
    return *function = made, OK;
  }
  return refuse(NOT_FOUND, "cuModuleGetFunction: the cubin has no %s", name);
}
int cuFuncSetAttribute(void *handle, int attribute, int value) {
  LOCKED;
  TRY(enter("cuFuncSetAttribute"));
  Object *f;
  TRY(find("cuFuncSetAttribute", handle, FUNCTION, "function", &f));
  const int most = card()->shared - (int)f->kernel->shared;
  if (attribute == 8 && value >= 0 && value <= most) return f->shared_limit = value, OK;
  if (attribute == 9 && value >= -1 && value <= 100) return OK;  // PREFERRED_SHARED_MEMORY_CARVEOUT, percent
  return refuse(INVALID_VALUE, "cuFuncSetAttribute: %s: attribute %d cannot be %d", f->kernel->name, attribute, value);
}
int cuFuncGetAttribute(int *value, int attribute, void *handle) {
  LOCKED;
  TRY(enter("cuFuncGetAttribute"));
  Object *f;
  TRY(find("cuFuncGetAttribute", handle, FUNCTION, "function", &f));
  switch (attribute) {
    case 0: return *value = f->kernel->max_threads ? (int)f->kernel->max_threads : 1024, OK;
    case 1: return *value = (int)f->kernel->shared, OK;
    case 4: return *value = (int)f->kernel->registers, OK;
    case 8: return *value = f->shared_limit, OK;
    default: return refuse(INVALID_VALUE, "cuFuncGetAttribute: attribute %d", attribute);
  }
}
int cuFuncLoad(void *handle) {
  LOCKED;
  TRY(enter("cuFuncLoad"));
  TRY(unsafe("cuFuncLoad"));
  Object *f;
  TRY(find("cuFuncLoad", handle, FUNCTION, "function", &f));
  return f->loaded = 1, OK;
}

// The bytes of a launch's parameters, to be freed.
static int read_parameters(const Kernel *k, void **params, void **extra, size_t *size, unsigned char **to) {
  if ((params != NULL) == (extra != NULL) && (params || k->parameters_size)) {
    return refuse(INVALID_VALUE, "%s: parameters as an array, or as a buffer", k->name);
  }
  const unsigned char *buffer = NULL;
  *size = extra ? 0 : k->parameters_size;
  for (; extra && *extra; extra += 2) {
    if (*extra == LAUNCH_BUFFER) buffer = extra[1];
    else if (*extra == LAUNCH_BUFFER_SIZE) *size = *(size_t *)extra[1];
    else return refuse(INVALID_VALUE, "%s: no option of a launch: %p", k->name, *extra);
  }
  if (*size != k->parameters_size) {
    return refuse(INVALID_VALUE, "%s: %zu bytes of parameters; the cubin takes %u", k->name, *size, k->parameters_size);
  }
  *to = calloc(1, *size + 1);
  if (buffer) memcpy(*to, buffer, *size);
  for (unsigned n = 0; params && n < k->n_parameters; ++n) {
    memcpy(*to + k->parameters[n].offset, params[n], k->parameters[n].size);
  }
  return OK;
}

// Whether a kernel may use the addresses among its parameters.
static int check_addresses(const Object *f, const unsigned char *bytes) {
  for (size_t n = 0; n < f->n_requirements; ++n) {
    const Requirement *r = &f->requirements[n];
    const unsigned offset = f->kernel->parameters[r->ordinal].offset + r->offset;
    const int map = r->alignment == TENSOR_MAP;
    if (map && memcmp(bytes + offset + 8, TENSOR_MAP_MARK, 8)) {
      return refuse(ILLEGAL_ADDRESS, "%s: parameter %u is no tensor map", f->kernel->name, r->ordinal);
    }
    uint64_t address;
    memcpy(&address, bytes + offset, sizeof address);
    if (!address) continue;
    if (!map && address % r->alignment) {
      return refuse(MISALIGNED, "%s: parameter %u: %p is no multiple of %u", f->kernel->name, r->ordinal,
                    (void *)address, r->alignment);
    }
    const int there = on_device((void *)address) && device_of((void *)address) == f->device;
    if (there ? !holding(&live, (void *)address, 0) : !holding(&pinned, (void *)address, 0)) {
      return refuse(ILLEGAL_ADDRESS, "%s: parameter %u: %p is in no live block of device %d", f->kernel->name,
                    r->ordinal, (void *)address, f->device);
    }
  }
  return OK;
}

static unsigned least(unsigned a, unsigned b) { return a < b ? a : b; }

// Blocks of a launch that an SM can hold at once.
static unsigned resident(const Kernel *k, unsigned threads, unsigned shared) {
  const unsigned warps = (threads + 31) / 32, registers = (k->registers * 32 + 255) / 256 * 256 * warps;
  unsigned blocks = least(64 / warps, 32);
  if (registers) blocks = least(blocks, 65536 / registers);
  const unsigned room = (unsigned)card()->shared + RESERVED_SHARED;
  return least(blocks, room / (k->shared + shared + RESERVED_SHARED));
}

static int check_shape(const Object *f, const LaunchConfig *c, Record *r) {
  const Kernel *k = f->kernel;
  const unsigned grid[3] = {c->grid[0], c->grid[1], c->grid[2]}, *block = c->block;
  if (grid[0] - 1 >= 2147483647u || grid[1] - 1 >= 65535u || grid[2] - 1 >= 65535u) {
    return refuse(INVALID_VALUE, "%s: a grid of %u x %u x %u blocks", k->name, grid[0], grid[1], grid[2]);
  }
  const uint64_t threads = (uint64_t)block[0] * block[1] * block[2];
  if (!threads || block[0] > 1024 || block[1] > 1024 || block[2] > 64 || threads > 1024 ||
      (k->max_threads && threads > k->max_threads) || (k->block[0] && memcmp(k->block, block, sizeof k->block))) {
    return refuse(INVALID_VALUE, "%s: a block of %u x %u x %u threads; compiled for %u, or %u x %u x %u", k->name, block[0],
                  block[1], block[2], k->max_threads, k->block[0], k->block[1], k->block[2]);
  }
  if (c->shared > (unsigned)f->shared_limit) {
    return refuse(INVALID_VALUE, "%s: %u bytes of shared memory; the function's limit is %d", k->name, c->shared,
                  f->shared_limit);
  }
  const unsigned fit = resident(k, (unsigned)threads, c->shared);
  if (!fit) return refuse(OUT_OF_RESOURCES, "%s: no SM holds a block of %u threads", k->name, (unsigned)threads);
  memcpy(r->cluster, k->cluster, sizeof r->cluster);
  for (unsigned n = 0; n < c->n_attributes; ++n) {
    const LaunchAttribute *a = &c->attributes[n];
    if (a->id > 16) return refuse(INVALID_VALUE, "%s: attribute %u of a launch", k->name, a->id);
    r->attributes |= 1u << a->id;
    if (a->id == CLUSTER_DIMENSION) {
      if (k->cluster[0] && memcmp(k->cluster, a->value.words, sizeof k->cluster)) {
        return refuse(INVALID_CLUSTER, "%s: other clusters than it was compiled for", k->name);
      }
      memcpy(r->cluster, a->value.words, sizeof r->cluster);
    } else if (a->id == COOPERATIVE && a->value.words[0]) {
      const uint64_t blocks = (uint64_t)grid[0] * grid[1] * grid[2];
      if (blocks > (uint64_t)fit * (unsigned)card()->multiprocessors) {
        return refuse(COOPERATIVE_TOO_LARGE, "%s: %llu blocks cannot run at once", k->name, (unsigned long long)blocks);
      }
    }
  }
  const unsigned *cluster = r->cluster;
  if (cluster[0] || cluster[1] || cluster[2]) {
    const unsigned size = cluster[0] * cluster[1] * cluster[2];
    if (arch < 90 || !size || size > 16 || grid[0] % cluster[0] || grid[1] % cluster[1] || grid[2] % cluster[2]) {
      return refuse(INVALID_CLUSTER, "%s: clusters of %u x %u x %u in a grid of %u x %u x %u blocks", k->name,
                    cluster[0], cluster[1], cluster[2], grid[0], grid[1], grid[2]);
    }
  }
  return OK;
}

static int launch(const char *function, const LaunchConfig *c, void *handle, void **params, void **extra) {
  TRY(enter(function));
  Object *f, *stream;
  TRY(find(function, handle, FUNCTION, "function", &f));
  TRY(find_stream(function, c->stream, &stream));
  TRY(here(function, f));
  TRY(here(function, stream));
  if (stream->capturing && !f->loaded) {  // a driver that loads lazily would do so now
    stream->spoiled = 1;
    return refuse(CAPTURE_UNSUPPORTED, "%s: is loaded by a launch on a stream that is captured", f->kernel->name);
  }
  f->loaded = 1;
  Record r = {.kind = LAUNCH, .shared = c->shared, .function = f};
  memcpy(r.name, f->kernel->name, sizeof r.name);
  memcpy(r.grid, c->grid, sizeof r.grid);
  memcpy(r.block, c->block, sizeof r.block);
  TRY(check_shape(f, c, &r));
  TRY(read_parameters(f->kernel, params, extra, &r.size, &r.bytes));
  const int status = check_addresses(f, r.bytes);
  if (status) return free(r.bytes), status;
  return submit(function, stream, r);
}
int cuLaunchKernel(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                   void *stream, void **params, void **extra) {
  LOCKED;
  const LaunchConfig config = {{gx, gy, gz}, {bx, by, bz}, shared, stream, NULL, 0};
  return launch("cuLaunchKernel", &config, f, params, extra);
}
int cuLaunchKernelEx(const LaunchConfig *config, void *f, void **params, void **extra) {
  LOCKED;
  return launch("cuLaunchKernelEx", config, f, params, extra);
}

int cuTensorMapEncodeTiled(void *map, int type, unsigned rank, void *address, const uint64_t *sizes,
                           const uint64_t *strides, const unsigned *box, const unsigned *steps, int interleave,
                           int swizzle, int promotion, int fill) {
  LOCKED;
  TRY(ready("cuTensorMapEncodeTiled"));
#define WANT(CONDITION) \
  if (!(CONDITION)) return refuse(INVALID_VALUE, "cuTensorMapEncodeTiled: not so: %s", #CONDITION)
  static const unsigned bytes[] = {1, 2, 4, 4, 8, 8, 2, 4, 8, 2, 4, 4, 4};
  static const unsigned spans[] = {1024, 32, 64, 128, 128, 128, 128};
  WANT((uintptr_t)map % 64 == 0);
  WANT(type >= 0 && type < 13);  // the packed types of 4 and 6 bits are not here
  WANT(rank >= (interleave ? 3 : 1) && rank <= 5);
  WANT(interleave >= 0 && interleave <= 2 && swizzle >= 0 && swizzle <= 6 && promotion >= 0 && promotion <= 3);
  WANT(fill == 0 || (fill == 1 && type >= 6));
  WANT(interleave != 2 || swizzle == 1);
  WANT((uintptr_t)address % (interleave == 2 ? 32 : 16) == 0);
  WANT(on_device(address) && holding(&live, address, 1));
  for (unsigned d = 0; d < rank; ++d) {
    WANT(sizes[d] > 0 && sizes[d] <= (uint64_t)1 << 32);
    WANT(box[d] > 0 && box[d] <= 256);
    WANT(steps[d] > 0 && steps[d] <= 8);
    if (d + 1 == rank) break;
    WANT(strides[d] % (interleave == 2 ? 32 : 16) == 0 && strides[d] < (uint64_t)1 << 40);
    WANT(strides[d] >= (d ? 1 : sizes[0] * bytes[type]));
  }
  WANT(interleave || box[0] * bytes[type] % 16 == 0);
  WANT(interleave || !swizzle || box[0] * bytes[type] <= spans[swizzle]);
#undef WANT
  memset(map, 0, 128);
  memcpy(map, &address, sizeof address);
  memcpy((char *)map + 8, TENSOR_MAP_MARK, 8);
  for (unsigned d = 0; d < rank; ++d) memcpy((char *)map + 16 + 4 * d, &box[d], 4);
  return OK;
}

// ---- graphs -------------------------------------------------------------------------------------------------------
static void free_nodes(Object *graph) {
  for (size_t k = 0; k < graph->n_nodes; ++k) free(graph->nodes[k].bytes);
  free(graph->nodes);
  graph->nodes = NULL;
  graph->n_nodes = 0;
}
int cuStreamBeginCapture_v2(void *handle, int mode) {
  LOCKED;
  TRY(enter("cuStreamBeginCapture"));
  Object *stream;
  TRY(find_stream("cuStreamBeginCapture", handle, &stream));
  if ((uintptr_t)handle <= 2) return refuse(CAPTURE_UNSUPPORTED, "cuStreamBeginCapture: of a default stream");
  if (mode < 0 || mode > 2) return refuse(INVALID_VALUE, "cuStreamBeginCapture: mode %d", mode);
  if (stream->capturing) return refuse(ILLEGAL_STATE, "cuStreamBeginCapture: it is captured already");
  stream->mode = mode;
  stream->capturer = gettid();
  stream->spoiled = 0;
  return stream->capturing = 1, OK;
}
int cuStreamIsCapturing(void *handle, int *status) {
  LOCKED;
  TRY(enter("cuStreamIsCapturing"));
  Object *stream;
  TRY(find_stream("cuStreamIsCapturing", handle, &stream));
  return *status = stream->capturing + (stream->capturing && stream->spoiled), OK;
}
int cuStreamEndCapture(void *handle, void **graph) {
  LOCKED;
  *graph = NULL;
  const int status = enter("cuStreamEndCapture");
  Object *stream = known(handle, STREAM);
  if (status && stream) {  // also then it captures no more
    stream->capturing = 0;
    free_nodes(stream);
  }
  TRY(status);
  TRY(find_stream("cuStreamEndCapture", handle, &stream));
  if (!stream->capturing) return refuse(ILLEGAL_STATE, "cuStreamEndCapture: it is not captured");
  if (stream->mode != 2 && stream->capturer != gettid()) {
    return refuse(CAPTURE_WRONG_THREAD, "cuStreamEndCapture: thread %ld captures", stream->capturer);
  }
  stream->capturing = 0;
  if (stream->spoiled) {
    free_nodes(stream);
    return CAPTURE_INVALIDATED;
  }
  Object *made = new_object(GRAPH, stream->context);
  made->nodes = stream->nodes;
  made->n_nodes = stream->n_nodes;
  stream->nodes = NULL;
  stream->n_nodes = 0;
  return *graph = made, OK;
}
int cuGraphGetNodes(void *handle, void **nodes, size_t *count) {
  LOCKED;
  TRY(ready("cuGraphGetNodes"));
  Object *graph;
  TRY(find("cuGraphGetNodes", handle, GRAPH, "graph", &graph));
  for (size_t k = 0; nodes && k < *count; ++k) {
    Object *node = k < graph->n_nodes ? new_object(NODE, graph->context) : NULL;
    if (node) node->kind = graph->nodes[k].kind;
    nodes[k] = node;
  }
  if (!nodes || *count > graph->n_nodes) *count = graph->n_nodes;
  return OK;
}
int cuGraphNodeGetType(void *handle, int *type) {
  LOCKED;
  TRY(ready("cuGraphNodeGetType"));
  Object *node;
  TRY(find("cuGraphNodeGetType", handle, NODE, "node", &node));
  return *type = node->kind == LAUNCH ? 0 : node->kind == COPY ? 1 : 2, OK;
}
int cuGraphInstantiateWithFlags(void **executable, void *handle, unsigned long long flags) {
  LOCKED;
  TRY(enter("cuGraphInstantiate"));
  Object *graph;
  TRY(find("cuGraphInstantiate", handle, GRAPH, "graph", &graph));
  if (flags > 15) return refuse(INVALID_VALUE, "cuGraphInstantiate: flags %llu", flags);
  Object *made = new_object(EXECUTABLE, graph->context);
  made->n_nodes = graph->n_nodes;
  made->nodes = calloc(graph->n_nodes + 1, sizeof(Record));
  for (size_t k = 0; k < graph->n_nodes; ++k) {
    made->nodes[k] = graph->nodes[k];
    if (graph->nodes[k].bytes) {
      made->nodes[k].bytes = memcpy(malloc(graph->nodes[k].size + 1), graph->nodes[k].bytes, graph->nodes[k].size);
    }
  }
  return *executable = made, OK;
}
static int check_node(const Record *node) {  // its memory must still be there
  int on;
  if (node->kind == LAUNCH) return check_addresses(node->function, node->bytes);
  const int gone = place_of("cuGraphLaunch", node->to, node->length, &on) ||
                   (node->kind == COPY && place_of("cuGraphLaunch", node->from, node->length, &on));
  return gone ? refuse(ILLEGAL_ADDRESS, "cuGraphLaunch: a node's memory has been freed") : OK;
}
int cuGraphLaunch(void *handle, void *stream_handle) {
  LOCKED;
  TRY(enter("cuGraphLaunch"));
  Object *graph, *stream;
  TRY(find("cuGraphLaunch", handle, EXECUTABLE, "executable graph", &graph));
  TRY(find_stream("cuGraphLaunch", stream_handle, &stream));
  TRY(here("cuGraphLaunch", stream));
  TRY(not_captured("cuGraphLaunch", stream));
  finish(stream);
  for (size_t k = 0; k < graph->n_nodes; ++k) {
    Record node = graph->nodes[k];
    TRY(check_node(&node));
    node.in_graph = 1;
    node.stream = stream;
    next_command(stream);
    use_all("cuGraphLaunch", stream, &node);
    now += 0.002 + (double)node.length * 1e-9;
    perform(&node);
    write_log(node);
  }
  return stream->pending = lag, OK;
}
static int destroy_graph(const char *function, void *handle, Type type) {
  TRY(ready(function));
  Object *graph;
  TRY(find(function, handle, type, "graph", &graph));
  free_nodes(graph);
  return graph->type = DEAD, OK;
}
int cuGraphExecDestroy(void *handle) {
  LOCKED;
  return destroy_graph("cuGraphExecDestroy", handle, EXECUTABLE);
}
int cuGraphDestroy(void *handle) {
  LOCKED;
  return destroy_graph("cuGraphDestroy", handle, GRAPH);
}

int cuGetErrorString(int status, const char **text) {
  static const struct { int status; const char *text; } texts[] = {
      {INVALID_VALUE, "invalid argument"}, {OUT_OF_MEMORY, "out of memory"}, {NOT_INITIALIZED, "initialization error"},
      {INVALID_CONTEXT, "invalid device context"}, {INVALID_HANDLE, "invalid resource handle"},
      {NO_BINARY, "no kernel image is available for execution on the device"},
      {ILLEGAL_ADDRESS, "an illegal memory access was encountered"}, {MISALIGNED, "misaligned address"},
      {CAPTURE_UNSUPPORTED, "operation not permitted when stream is capturing"}};
  *text = "a fake error";
  for (size_t k = 0; k < sizeof texts / sizeof *texts; ++k) {
    if (texts[k].status == status) *text = texts[k].text;
  }
  return OK;
}

// ---- for tests: see Driver in __init__.py -------------------------------------------------------------------------
size_t fake_count(void) {
  LOCKED;
  return logged;
}
int fake_read(size_t k, Record *to, unsigned char *parameters) {  // 0: it has been overwritten
  LOCKED;
  if (k >= logged || logged - k > MAX_RECORDS) return 0;
  *to = log_[k % MAX_RECORDS];
  if (to->kind == LAUNCH) memcpy(parameters, to->bytes, to->size);
  return 1;
}
size_t fake_refusals(void) {
  LOCKED;
  return refused;
}
void fake_refusal(size_t k, char *to) {
  LOCKED;
  strcpy(to, refusals[k % MAX_REFUSALS]);
}
int fake_require(void *handle, unsigned ordinal, unsigned offset, unsigned alignment, unsigned written) {
  LOCKED;
  Object *f = known(handle, FUNCTION);
  const unsigned size = alignment == TENSOR_MAP ? 128 : 8;
  if (!f || ordinal >= f->kernel->n_parameters || offset + size > f->kernel->parameters[ordinal].size) {
    return INVALID_VALUE;
  }
  f->requirements = realloc(f->requirements, (f->n_requirements + 1) * sizeof(Requirement));
  f->requirements[f->n_requirements++] = (Requirement){ordinal, offset, alignment, written};
  return OK;
}
int fake_parameter(void *handle, unsigned ordinal, unsigned *offset, unsigned *size) {
  LOCKED;
  const Object *f = known(handle, FUNCTION);
  if (!f || ordinal >= f->kernel->n_parameters) return INVALID_VALUE;
  *offset = f->kernel->parameters[ordinal].offset;
  return *size = f->kernel->parameters[ordinal].size, OK;
}
unsigned fake_parameters_size(void *handle) {
  LOCKED;
  const Object *f = known(handle, FUNCTION);
  return f ? f->kernel->parameters_size : 0;
}
void *fake_reach(uint64_t address) {
  LOCKED;
  return on_device((void *)address) ? reach(address) : NULL;
}
void *fake_foreign_context(int id) {
  LOCKED;
  Object *made = new_object(CONTEXT, NULL);
  made->device = id;
  return made;
}
void fake_limit(int id, size_t bytes) {
  LOCKED;
  limit[id] = bytes;
}
size_t fake_used(int id) {
  LOCKED;
  return used[id];
}
void fake_fail(const char *function, int status, int after) {
  LOCKED;
  fail_after = after;
  snprintf(fail_function, sizeof fail_function, "%s", function);
  fail_with = status;
}
int fake_heal(void) {  // what was lost; from here on all is well again
  LOCKED;
  const int was = lost;
  return lost = 0, was;
}
void fake_strict(int on) {
  LOCKED;
  strict = on;
}
void fake_lag(int queries) {
  LOCKED;
  lag = queries;
}
