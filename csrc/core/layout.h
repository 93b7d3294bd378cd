// Where the elements of an array lie: sizes counted with a check, the bytes an array reaches, and overlaps.
#pragma once
#include <utility>

#include "core/kernel.h"

namespace dlcore {

constexpr int64_t kMostBytes = int64_t{1} << 47;  // that a tensor may reach: as much as a process can address

// The number of elements of `item` bytes. False where the lengths other than 0 multiply to more bytes than an int64
// counts: then offsets could not be computed either, nor those of a view with the empty axes taken away.
bool count_elements(const int64_t* shape, int ndim, int64_t item, int64_t* size);

// What is wrong with an array that somebody else describes, or null: negative lengths, a size, an offset or an address
// that overflows, no memory, memory that is not aligned. Strides that mean nothing (of an empty array, of an axis of
// length 1) become those of a contiguous array, and an empty array without memory gets some address.
const char* mend_layout(Array& a);

std::pair<const char*, const char*> extent(const Array& a);  // first byte, one past the last
bool share_memory(const Array& a, const Array& b);           // whether these stretches meet
bool same_array(const Array& a, const Array& b);             // element i of one is element i of the other
bool overlaps_itself(const Array& a);                        // whether two elements are one, as in an expanded array

}  // namespace dlcore
