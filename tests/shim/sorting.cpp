// What `sorting.cu` has from CUB, by the standard library.
#include "sorting.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace splat::gpu {
namespace {

constexpr int64_t kRoom = 64;  // as if something were needed: who gives less is told

const char* missing(void* memory, int64_t bytes) {
  return memory && bytes >= kRoom ? nullptr : "too little memory was given for sorting";
}

template <class Key>
const char* sorted(void* memory, int64_t bytes, const Key* keys, Key* sorted_keys, const uint32_t* values,
                   uint32_t* sorted_values, int64_t count, int bits) {
  if (const char* error = missing(memory, bytes)) return error;
  const uint64_t mask = (uint64_t(1) << bits) - 1;
  std::vector<uint32_t> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return (keys[a] & mask) < (keys[b] & mask); });
  for (int64_t i = 0; i < count; ++i) sorted_keys[i] = keys[order[i]], sorted_values[i] = values[order[i]];
  return nullptr;
}

}  // namespace

int64_t sum_bytes(int64_t) { return kRoom; }
int64_t sort_bytes(int64_t, bool) { return kRoom; }

const char* exclusive_sum(void* memory, int64_t bytes, uint32_t* values, int64_t count, cudaStream_t) {
  if (const char* error = missing(memory, bytes)) return error;
  std::exclusive_scan(values, values + count, values, 0u);
  return nullptr;
}
const char* sort_pairs(void* memory, int64_t bytes, const uint32_t* keys, uint32_t* sorted_keys,
                       const uint32_t* values, uint32_t* sorted_values, int64_t count, int bits, cudaStream_t) {
  return sorted(memory, bytes, keys, sorted_keys, values, sorted_values, count, bits);
}
const char* sort_pairs(void* memory, int64_t bytes, const uint16_t* keys, uint16_t* sorted_keys,
                       const uint32_t* values, uint32_t* sorted_values, int64_t count, int bits, cudaStream_t) {
  return sorted(memory, bytes, keys, sorted_keys, values, sorted_values, count, bits);
}

}  // namespace splat::gpu
