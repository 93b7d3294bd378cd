#include "core/kernel.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <unordered_map>

#include "core/record.h"

namespace dlcore {

namespace {
std::unordered_map<std::string, Kernel>& registry() {  // built on first use: kernels register before main
  static auto& table = *new std::unordered_map<std::string, Kernel>;  // threads may run kernels while the process ends
  return table;
}
}  // namespace

Isa processor_isa() {
  static const Isa isa = [] {
    Isa best = Isa::v1;
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")) {
      best = Isa::v3;
    }
    if (best == Isa::v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl")) {
      best = Isa::v4;
    }
#endif
    const char* asked = std::getenv("DLCORE_ISA");
    if (asked && !std::strcmp(asked, "v1")) return Isa::v1;
    if (asked && !std::strcmp(asked, "v3") && best == Isa::v4) return Isa::v3;
    return best;
  }();
  return isa;
}

void register_kernel(const Kernel& kernel) { registry()[kernel.name] = kernel; }

const Kernel* find_kernel(const std::string& name) {
  const auto found = registry().find(name);
  return found == registry().end() ? nullptr : &found->second;
}

std::vector<std::string> kernel_names() {
  std::vector<std::string> names;
  for (const auto& [name, kernel] : registry()) names.push_back(name);
  std::sort(names.begin(), names.end());
  return names;
}

void run(const Kernel& kernel, const Args& args) {
  if (kernel.launches) kernel.launches->run(args);
  else kernel.function(args);
}

void launch(const Kernel& kernel, const Args& args) {
  if (!recorder) return run(kernel, args);
  if (!recorder->dry) run(kernel, args);
  record_launch(kernel, args);
}

}  // namespace dlcore
