#include "sorting.h"

#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_scan.cuh>

namespace splat::gpu {
namespace {

const char* words_of(cudaError_t error) { return error == cudaSuccess ? nullptr : cudaGetErrorString(error); }

template <class Key>
const char* sorted(void* memory, int64_t bytes, const Key* keys, Key* sorted_keys, const uint32_t* values,
                   uint32_t* sorted_values, int64_t count, int bits, cudaStream_t stream) {
  std::size_t room = std::size_t(bytes);
  return words_of(cub::DeviceRadixSort::SortPairs(memory, room, keys, sorted_keys, values, sorted_values,
                                                  uint32_t(count), 0, bits, stream));
}

template <class Key>
int64_t bytes_to_sort(int64_t count) {
  std::size_t room = 0;
  const Key* keys = nullptr;
  const uint32_t* values = nullptr;
  cub::DeviceRadixSort::SortPairs(nullptr, room, keys, static_cast<Key*>(nullptr), values,
                                  static_cast<uint32_t*>(nullptr), uint32_t(count), 0, int(8 * sizeof(Key)));
  return int64_t(room);
}

}  // namespace

int64_t sum_bytes(int64_t count) {
  std::size_t room = 0;
  uint32_t* values = nullptr;
  cub::DeviceScan::ExclusiveSum(nullptr, room, values, values, uint32_t(count));
  return int64_t(room);
}
int64_t sort_bytes(int64_t count, bool narrow) {
  return narrow ? bytes_to_sort<uint16_t>(count) : bytes_to_sort<uint32_t>(count);
}

const char* exclusive_sum(void* memory, int64_t bytes, uint32_t* values, int64_t count, cudaStream_t stream) {
  std::size_t room = std::size_t(bytes);
  return words_of(cub::DeviceScan::ExclusiveSum(memory, room, values, values, uint32_t(count), stream));
}

const char* sort_pairs(void* memory, int64_t bytes, const uint32_t* keys, uint32_t* sorted_keys,
                       const uint32_t* values, uint32_t* sorted_values, int64_t count, int bits, cudaStream_t stream) {
  return sorted(memory, bytes, keys, sorted_keys, values, sorted_values, count, bits, stream);
}
const char* sort_pairs(void* memory, int64_t bytes, const uint16_t* keys, uint16_t* sorted_keys,
                       const uint32_t* values, uint32_t* sorted_values, int64_t count, int bits, cudaStream_t stream) {
  return sorted(memory, bytes, keys, sorted_keys, values, sorted_values, count, bits, stream);
}

}  // namespace splat::gpu
