#include "core/processor.h"

#include <unistd.h>

#include <cstdlib>
#include <cstring>

namespace dlcore {

int64_t second_level_cache() {
  static const long size = sysconf(_SC_LEVEL2_CACHE_SIZE);
  return size > 0 ? size : int64_t{1} << 20;
}

Tiles product_tiles() {
  static const Tiles tiles = [] {
    const char* asked = std::getenv("DLCORE_TILES");
    if (asked && !std::strcmp(asked, "broad")) return Tiles::broad;
    if (asked && !std::strcmp(asked, "mixed")) return Tiles::mixed;
    if (asked && !std::strcmp(asked, "tall")) return Tiles::tall;
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
    if (__builtin_cpu_is("intel")) return Tiles::broad;
#endif
    return Tiles::mixed;
  }();
  return tiles;
}

bool multiplies_bfloat16() {
  static const bool multiplies = [] {
    const char* asked = std::getenv("DLCORE_BF16");
    if (asked && !std::strcmp(asked, "widened")) return false;
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512bf16") != 0;
#else
    return false;
#endif
  }();
  return multiplies;
}

bool multiplies_bytes() {
  static const bool multiplies = [] {
    const char* asked = std::getenv("DLCORE_VNNI");
    if (asked && !std::strcmp(asked, "off")) return false;
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512vnni") != 0;
#else
    return false;
#endif
  }();
  return multiplies;
}

}  // namespace dlcore
