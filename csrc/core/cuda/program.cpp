// Kernels of the GPU: launches packed once by dlcore/backends/cuda.py, into which each call stores its addresses.
#include "core/cuda/program.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <utility>
#include <vector>

#include "core/cuda/driver.h"
#include "core/kernel.h"

namespace dlcore::v1 {
#define DLCORE_ISA 1
#include "common/simd.inl"
#undef DLCORE_ISA
}  // namespace dlcore::v1

namespace dlcore::cuda {

struct Slot {  // what of the parameters differs from call to call
  size_t offset, size;
  int array;      // operand, output or workspace
  int64_t shift;  // bytes past its element 0
  bool value;     // a Python number: its value, not its address
};
struct alignas(64) TensorMap { std::array<uint64_t, 16> words; };
struct Map {  // a parameter that tells TMA of an array; made anew where the array has moved
  size_t offset;
  int array;
  int64_t shift;  // bytes past its element 0
  int type, item, swizzle;  // CUtensorMapDataType, bytes of it, CUtensorMapSwizzle
  unsigned rank;                           // of what follows, the innermost axis first
  std::array<uint64_t, 5> sizes, strides;  // bytes from one to the next, of all axes but the first
  std::array<unsigned, 5> box;
  mutable Pointer address = 0;
  mutable TensorMap made{};
};
struct Packed {
  Handle function;
  std::array<unsigned, 3> grid, block;
  unsigned shared;
  std::string params;           // one after the other,
  std::vector<size_t> offsets;  // each here
  std::vector<Slot> slots;
  std::vector<Map> maps;
  std::vector<LaunchAttribute> attributes;
};
struct Zeroed { int array; size_t bytes; };

static constexpr size_t kMaxParams = 32764, kMaxCount = 256;  // bytes of parameters, from CUDA 12.1 on; how many

// Drivers for CUDA 13.1 and older make maps of less than 128 KiB with a bit too many; as CUTLASS and Triton do, it is
// cleared (cute/atom/copy_traits_sm90_tma.hpp).
static void mend_small(const Map& map, TensorMap& made) {
  static const bool wrong = [] {
    int version = 0;
    CHECK(cuDriverGetVersion, &version);
    return version <= 13010;
  }();
  uint64_t last = map.sizes[0] * static_cast<uint64_t>(map.item) - 1;
  for (unsigned d = 1; d < map.rank; ++d) last += (map.sizes[d] - 1) * map.strides[d - 1];
  if (wrong && last + 1 < 128 << 10) made.words[1] &= ~(uint64_t{1} << 21);
}

// Writes the map of the array at `address`. The last one made is kept, for most arrays stay where they are.
static void store_map(char* to, const Map& map, Pointer address) {
  static std::mutex making;  // replays run without the GIL
  const std::lock_guard<std::mutex> alone(making);
  if (map.address != address) {
    constexpr std::array<unsigned, 5> steps{1, 1, 1, 1, 1};
    constexpr int kNotInterleaved = 0, kPromoteTo128Bytes = 2, kFillWithZeros = 0;
    map.address = 0;
    CHECK(cuTensorMapEncodeTiled, &map.made, map.type, map.rank, address, map.sizes.data(), map.strides.data(),
          map.box.data(), steps.data(), kNotInterleaved, map.swizzle, kPromoteTo128Bytes, kFillWithZeros);
    mend_small(map, map.made);
    map.address = address;
  }
  std::memcpy(to, &map.made, sizeof map.made);
}

static void store_value(char* to, size_t size, const Array& a) {  // a weak scalar in the type the kernel takes
  const auto put = [&](auto value) { std::memcpy(to, &value, std::min(size, sizeof value)); };
  switch (a.dtype) {
    case DType::float16: return put(v1::to_float(*a.as<half_t>()));
    case DType::bfloat16: return put(v1::to_float(*a.as<bfloat16_t>()));
    case DType::float32: return put(*a.as<float>());
    case DType::float64: return put(*a.as<double>());
    case DType::bool_:
    case DType::uint8: return put(static_cast<int64_t>(*a.as<uint8_t>()));
    case DType::uint16: return put(static_cast<int64_t>(*a.as<uint16_t>()));
    case DType::uint32: return put(static_cast<int64_t>(*a.as<uint32_t>()));
    case DType::uint64: return put(*a.as<uint64_t>());
    case DType::int8: return put(static_cast<int64_t>(*a.as<int8_t>()));
    case DType::int16: return put(static_cast<int64_t>(*a.as<int16_t>()));
    case DType::int32: return put(static_cast<int64_t>(*a.as<int32_t>()));
    case DType::int64: return put(*a.as<int64_t>());
  }
}

class Program final : public Launches {
 public:
  Program(std::string name, uint8_t device, std::vector<Packed> launches, std::vector<Zeroed> zeroed)
      : name_(std::move(name)), device_(device), launches_(std::move(launches)), zeroed_(std::move(zeroed)) {}
  const char* name() const { return name_.c_str(); }

  void run(const Args& args) const override {
    const Entered place(device_);
    const Handle stream = place.stream();
    for (const Zeroed& z : zeroed_) CHECK(cuMemsetD8Async, pointer(args.arrays[z.array].data), 0, z.bytes, stream);
    for (const Packed& launch : launches_) start(launch, args, stream);
  }

 private:
  static void start(const Packed& launch, const Args& args, Handle stream) {
    alignas(64) char params[kMaxParams];
    std::memcpy(params, launch.params.data(), launch.params.size());
    for (const Slot& slot : launch.slots) {
      const Array& a = args.arrays[slot.array];
      if (slot.value) {
        store_value(params + slot.offset, slot.size, a);
      } else {
        const char* address = a.as<char>() + slot.shift;
        std::memcpy(params + slot.offset, &address, sizeof address);
      }
    }
    for (const Map& map : launch.maps) {
      store_map(params + map.offset, map, pointer(args.arrays[map.array].as<char>() + map.shift));
    }
    // Where they lie in the code's memory the driver knows: a map's place is aligned there.
    void* parameters[kMaxCount];
    for (size_t k = 0; k < launch.offsets.size(); ++k) parameters[k] = params + launch.offsets[k];
    const LaunchConfig config{launch.grid,  launch.block, launch.shared, stream, launch.attributes.data(),
                              static_cast<unsigned>(launch.attributes.size())};
    CHECK(cuLaunchKernelEx, &config, launch.function, parameters, nullptr);
  }

  std::string name_;
  uint8_t device_;
  std::vector<Packed> launches_;
  std::vector<Zeroed> zeroed_;
};

// ---- what Python hands over ---------------------------------------------------------------------------------------
static bool read_slot(PyObject* tuple, const char* name, Packed& launch) {
  Py_ssize_t offset, size;
  long long shift;
  int array, value;
  if (!PyArg_ParseTuple(tuple, "nniLp", &offset, &size, &array, &shift, &value)) return false;
  const Py_ssize_t end = static_cast<Py_ssize_t>(launch.params.size());
  if (offset < 0 || size < 0 || size > end || offset > end - size) {
    PyErr_Format(PyExc_ValueError, "%s: a slot lies outside the parameters", name);
    return false;
  }
  launch.slots.push_back({static_cast<size_t>(offset), static_cast<size_t>(size), array, shift, value != 0});
  return true;
}

template <class T, size_t n> static bool read_numbers(PyObject* tuple, std::array<T, n>& to) {
  const Py_ssize_t count = std::min<Py_ssize_t>(PyTuple_GET_SIZE(tuple), n);
  for (Py_ssize_t k = 0; k < count; ++k) {
    to[static_cast<size_t>(k)] = static_cast<T>(PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(tuple, k)));
  }
  return !PyErr_Occurred();
}

static bool read_map(PyObject* tuple, const char* name, Packed& launch) {
  Map map{};
  Py_ssize_t offset;
  long long shift;
  PyObject *sizes, *strides, *box;
  if (!PyArg_ParseTuple(tuple, "niLiiiO!O!O!", &offset, &map.array, &shift, &map.type, &map.item, &map.swizzle,
                        &PyTuple_Type, &sizes, &PyTuple_Type, &strides, &PyTuple_Type, &box) ||
      !read_numbers(sizes, map.sizes) || !read_numbers(strides, map.strides) || !read_numbers(box, map.box)) {
    return false;
  }
  const Py_ssize_t rank = PyTuple_GET_SIZE(sizes), end = static_cast<Py_ssize_t>(launch.params.size());
  if (rank < 1 || rank > 5 || PyTuple_GET_SIZE(strides) != rank - 1 || PyTuple_GET_SIZE(box) != rank || offset < 0 ||
      offset % 64 || offset > end - static_cast<Py_ssize_t>(sizeof(TensorMap))) {
    PyErr_Format(PyExc_ValueError, "%s: a tensor map has other numbers of axes, or lies outside the parameters", name);
    return false;
  }
  map.offset = static_cast<size_t>(offset);
  map.shift = shift;
  map.rank = static_cast<unsigned>(rank);
  launch.maps.push_back(map);
  return true;
}

static bool read_launch(PyObject* tuple, const char* name, Packed& launch) {
  unsigned long long function;
  int grid[3], block[3], shared;
  PyObject *params, *offsets, *slots, *maps, *attributes;
  if (!PyArg_ParseTuple(tuple, "K(iii)(iii)iSO!O!O!O!", &function, &grid[0], &grid[1], &grid[2], &block[0], &block[1],
                        &block[2], &shared, &params, &PyList_Type, &offsets, &PyList_Type, &slots, &PyList_Type, &maps,
                        &PyList_Type, &attributes)) {
    return false;
  }
  launch.function = reinterpret_cast<Handle>(function);
  std::copy_n(grid, 3, launch.grid.begin());
  std::copy_n(block, 3, launch.block.begin());
  launch.shared = static_cast<unsigned>(shared);
  launch.params.assign(PyBytes_AS_STRING(params), static_cast<size_t>(PyBytes_GET_SIZE(params)));
  if (launch.params.size() > kMaxParams) {
    PyErr_Format(PyExc_ValueError, "%s: more than %zu bytes of parameters", name, kMaxParams);
    return false;
  }
  for (Py_ssize_t k = 0; k < PyList_GET_SIZE(offsets); ++k) {
    launch.offsets.push_back(PyLong_AsSize_t(PyList_GET_ITEM(offsets, k)));
    if (PyErr_Occurred()) return false;
    if (launch.offsets.back() > launch.params.size() || launch.offsets.size() > kMaxCount) {
      PyErr_Format(PyExc_ValueError, "%s: more than %zu parameters, or one outside their bytes", name, kMaxCount);
      return false;
    }
  }
  for (Py_ssize_t k = 0; k < PyList_GET_SIZE(slots); ++k) {
    if (!read_slot(PyList_GET_ITEM(slots, k), name, launch)) return false;
  }
  for (Py_ssize_t k = 0; k < PyList_GET_SIZE(maps); ++k) {
    if (!read_map(PyList_GET_ITEM(maps, k), name, launch)) return false;
  }
  for (Py_ssize_t k = 0; k < PyList_GET_SIZE(attributes); ++k) {
    LaunchAttribute a{};
    if (!PyArg_ParseTuple(PyList_GET_ITEM(attributes, k), "i(iii)", &a.id, &a.value[0], &a.value[1], &a.value[2])) {
      return false;
    }
    launch.attributes.push_back(a);
  }
  return true;
}

PyObject* make_program(PyObject*, PyObject* args) {
  const char* name;
  uint8_t device;
  PyObject *launches, *zeroed;
  if (!PyArg_ParseTuple(args, "sbO!O!:program", &name, &device, &PyList_Type, &launches, &PyList_Type, &zeroed)) {
    return nullptr;
  }
  std::vector<Packed> packed(static_cast<size_t>(PyList_GET_SIZE(launches)));
  for (size_t k = 0; k < packed.size(); ++k) {
    if (!read_launch(PyList_GET_ITEM(launches, static_cast<Py_ssize_t>(k)), name, packed[k])) return nullptr;
  }
  std::vector<Zeroed> zero;
  for (Py_ssize_t k = 0; k < PyList_GET_SIZE(zeroed); ++k) {
    int array;
    Py_ssize_t bytes;
    if (!PyArg_ParseTuple(PyList_GET_ITEM(zeroed, k), "in", &array, &bytes)) return nullptr;
    zero.push_back({array, static_cast<size_t>(bytes)});
  }
  const auto made = std::make_shared<Program>(name, device, std::move(packed), std::move(zero));
  return kernel_capsule(made->name(), made);
}

}  // namespace dlcore::cuda
