// Visible Gaussians are sorted by depth once; their pairs then, which a stable sort by tile deals to the
// tiles (as Faster-GS, Hahlbohm et al. 2026, does: keys of the second sort are 16 bits, not 64). Both are
// stable: the outcome depends on nothing but the depths.
#include "order.h"

#include "launch.h"
#include "spans.h"

namespace splat::gpu {
namespace {

constexpr int kThreads = 256;

__device__ int64_t item() { return int64_t(blockIdx.x) * kThreads + threadIdx.x; }

__global__ void __launch_bounds__(kThreads) collect(Rows rows, int64_t n, Sorting sorting) {
  const int64_t i = item();
  if (i >= n || !rows.counts[i]) return;
  const uint32_t at = rows.places[i];
  sorting.depths[at] = __float_as_uint(rows.records[i].z);
  sorting.rows[at] = uint32_t(i);
}

__global__ void __launch_bounds__(kThreads) count_by_depth(Rows rows, int64_t visible, Sorting sorting) {
  const int64_t k = item();
  if (k <= visible) sorting.firsts[k] = k < visible ? rows.counts[sorting.order[k]] : 0;
}

// Slots follow the order of depth as pairs do before they are sorted by tile.
template <class Key>
__global__ void __launch_bounds__(kThreads)
    emit(Rows rows, Picture picture, int64_t visible, Sorting sorting, Key* tiles) {
  const int64_t k = item();
  if (k >= visible) return;
  const uint32_t row = sorting.order[k];
  const Record g = rows.records[row];
  const Rect rect = rows.rects[row];
  uint32_t at = sorting.firsts[k];
  rows.places[row] = at;
  for (int y = rect.y0; y < rect.y1; ++y) {
    const Span span = span_of(g, rect, y);
    for (int x = span.first; x < span.end; ++x, ++at) {
      tiles[at] = Key(y * picture.columns + x);
      sorting.places[at] = at;
      sorting.owners[at] = row;
    }
  }
}

// A tile's first pair, also of tiles that have none.
template <class Key>
__global__ void __launch_bounds__(kThreads)
    deal(const Key* tiles, int tile_count, int64_t count, Sorting sorting, Pairs pairs) {
  const int64_t p = item();
  if (p >= count) return;
  const uint32_t slot = sorting.sorted_places[p];
  pairs.slots[p] = slot;
  pairs.rows[p] = sorting.owners[slot];
  const int tile = int(tiles[p]);
  for (int t = p ? int(tiles[p - 1]) + 1 : 0; t <= tile; ++t) pairs.starts[t] = uint32_t(p);
  if (p == count - 1)
    for (int t = tile + 1; t <= tile_count; ++t) pairs.starts[t] = uint32_t(count);
}

// Chunks of a tile beyond its first; their sum says where each tile's begin.
__global__ void __launch_bounds__(kThreads) count_chunks(Pairs pairs, int tile_count) {
  const int64_t t = item();
  if (t > tile_count) return;
  const uint32_t length = t < tile_count ? pairs.starts[t + 1] - pairs.starts[t] : 0;
  pairs.chunk_starts[t] = length ? (length - 1) / kChunk : 0;
}

__global__ void __launch_bounds__(kThreads) name_chunks(Pairs pairs, int tile_count) {
  const int64_t t = item();
  if (t >= tile_count) return;
  for (uint32_t k = pairs.chunk_starts[t]; k < pairs.chunk_starts[t + 1]; ++k) pairs.chunk_tiles[k] = uint32_t(t);
}

template <class Key>
const char* deal_pairs(const Rows& rows, const Picture& picture, int64_t visible, const Pairs& pairs, int64_t count,
                       const Sorting& s, Key* tiles, Key* sorted_tiles, cudaStream_t queue) {
  int bits = 1;
  while ((picture.tiles() - 1) >> bits) ++bits;
  launch(emit<Key>, blocks_of(visible, kThreads), kThreads, queue, rows, picture, visible, s, tiles);
  if (const char* error = sort_pairs(s.memory, s.room, tiles, sorted_tiles, s.places, s.sorted_places, count, bits, queue))
    return error;
  launch(deal<Key>, blocks_of(count, kThreads), kThreads, queue, sorted_tiles, picture.tiles(), count, s, pairs);
  return nullptr;
}

}  // namespace

Sorting::Sorting(Carve& carve, int64_t visible, int64_t pairs, const Picture& picture) {
  const bool small = narrow_tiles(picture);
  const auto rows_each = [&] { return carve.take<uint32_t>(visible); };
  const auto pairs_each = [&] { return carve.take<uint32_t>(pairs); };
  depths = rows_each(), sorted_depths = rows_each(), rows = rows_each(), order = rows_each();
  firsts = carve.take<uint32_t>(visible + 1);
  narrow = carve.take<uint16_t>(small ? pairs : 0), sorted_narrow = carve.take<uint16_t>(small ? pairs : 0);
  wide = carve.take<uint32_t>(small ? 0 : pairs), sorted_wide = carve.take<uint32_t>(small ? 0 : pairs);
  places = pairs_each(), sorted_places = pairs_each(), owners = pairs_each();
  room = sort_bytes(visible, false);
  for (const int64_t other : {sort_bytes(pairs, small), sum_bytes(visible + 1), sum_bytes(picture.tiles() + 1)})
    room = other > room ? other : room;
  memory = carve.take<char>(room);
}

const char* order_pairs(const Rows& rows, int64_t n, const Picture& picture, int64_t visible, const Pairs& pairs,
                        int64_t count, const Sorting& s, cudaStream_t queue, bool differentiable) {
  const int tiles = picture.tiles();
  if (!count) {
    cudaMemsetAsync(pairs.starts, 0, (tiles + 1) * sizeof(uint32_t), queue);
    cudaMemsetAsync(pairs.chunk_starts, 0, (tiles + 1) * sizeof(uint32_t), queue);
    return launch_error();
  }
  launch(collect, blocks_of(n, kThreads), kThreads, queue, rows, n, s);
  if (const char* error = sort_pairs(s.memory, s.room, s.depths, s.sorted_depths, s.rows, s.order, visible, 32, queue))
    return error;
  launch(count_by_depth, blocks_of(visible + 1, kThreads), kThreads, queue, rows, visible, s);
  if (const char* error = exclusive_sum(s.memory, s.room, s.firsts, visible + 1, queue)) return error;
  const char* error = narrow_tiles(picture)
                          ? deal_pairs(rows, picture, visible, pairs, count, s, s.narrow, s.sorted_narrow, queue)
                          : deal_pairs(rows, picture, visible, pairs, count, s, s.wide, s.sorted_wide, queue);
  if (error || !differentiable) return error ? error : launch_error();
  launch(count_chunks, blocks_of(tiles + 1, kThreads), kThreads, queue, pairs, tiles);
  if (const char* failed = exclusive_sum(s.memory, s.room, pairs.chunk_starts, tiles + 1, queue)) return failed;
  launch(name_chunks, blocks_of(tiles, kThreads), kThreads, queue, pairs, tiles);
  return launch_error();
}

}  // namespace splat::gpu
