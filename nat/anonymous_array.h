// Arrays of the tables that are no part of the flow table, in memory of Memory::anonymous().
#pragma once

#include <cstddef>

#include "nat/conntrack.h"

namespace sluice::nat {

// `count` elements, all of them zero bytes, for release_array(); nullptr: there is no memory.
template <class T>
[[nodiscard]] T* allocate_array(size_t count) {
  return static_cast<T*>(Memory::anonymous().allocate(count * sizeof(T), alignof(T)));
}

// With the count that it was allocated with. nullptr: nothing.
template <class T>
void release_array(T* array, size_t count) {
  if (array != nullptr) Memory::anonymous().release(array, count * sizeof(T));
}

}  // namespace sluice::nat
