// What each Gaussian did in a picture that has been drawn: front to back again, as in
// `blend_backward.cu`, but a warp has a tile's whole list, for a pixel's strongest is one of all.
#include "launch.h"
#include "sums.h"
#include "tile.h"

namespace splat::gpu {
namespace {

constexpr int kThreads = 128;

// Over the pixels in which blending draws it, with w = alpha T: the rows of Survey::scores.
enum Score {
  kMass,         // sum of w
  kHits,         // their number
  kTransmitted,  // sum of T
  kSquared,      // sum over channels, too, of (d colour / d G)^2 with alpha = opacity G before its cap
  kMost,         // largest w
  kScores        // from here on, sums of the maps times w
};

struct Surveyed {
  const Record* records;
  Pairs pairs;
  PairSums sums;
  Picture picture;
  const float *image, *maps;
  int map_count;
  int32_t* strongest;
};

__device__ __forceinline__ float warp_most(float value) {
#pragma unroll
  for (int bit = 16; bit; bit /= 2) value = mx(value, __shfl_xor_sync(kEveryLane, value, bit));
  return value;
}

template <bool kMaps>
__global__ void __launch_bounds__(kThreads, 3) survey_tiles(Surveyed call) {
  const int lane = threadIdx.x % 32, index = int(blockIdx.x) * (kThreads / 32) + int(threadIdx.x) / 32;
  if (index >= call.picture.tiles()) return;
  const ScreenTile tile(call.picture, index);
  // `rest` is what is still to come of the colour, background and all.
  float T[kBlocks], rest[3][kBlocks], most[kBlocks];
  int32_t best[kBlocks];
  const LanePixels place(call.picture, tile, lane);
#pragma unroll
  for (int b = 0; b < kBlocks; ++b) {
    T[b] = place.has(b) ? 1.f : 0.f, most[b] = 0, best[b] = -1;
    for (int c = 0; c < 3; ++c) rest[c][b] = place.has(b) ? call.image[3 * place.at(b) + c] : 0.f;
  }
  const float base_x = centre(column_of(0, lane)), base_y = centre(row_of(0, lane));
  const float stop = float(kTransmittanceStop), cap = float(kMaxAlpha);
  const uint32_t end = call.pairs.starts[index + 1];
  for (uint32_t first = call.pairs.starts[index]; first < end; first += 32) {
    const uint32_t mine = first + lane;
    const uint32_t my_hits = mine < end ? call.pairs.hits[mine] : 0, my_row = mine < end ? call.pairs.rows[mine] : 0,
                   my_slot = mine < end ? call.pairs.slots[mine] : 0;
    if (my_hits) call.sums.drawn[my_slot] = 1;
    for (uint32_t todo = __ballot_sync(kEveryLane, my_hits != 0); todo; todo &= todo - 1) {
      const int k = __ffs(int(todo)) - 1;
      const uint32_t hits = __shfl_sync(kEveryLane, my_hits, k), row = __shfl_sync(kEveryLane, my_row, k);
      const Placed p = tile.place(call.records[row]);
      float mass = 0, number = 0, transmitted = 0, squared = 0, largest = 0, weights[kMaps ? kBlocks : 1];
#pragma unroll
      for (int b = 0; b < kBlocks; ++b) {
        if (kMaps) weights[b] = 0;
        if (!(hits >> b & 1)) continue;
        const float alpha = Offset(p, base_x + float(column_of(b, 0)), base_y + float(row_of(b, 0))).alpha();
        const float before = T[b], left = fnma(alpha, before, before);
        const bool hit = left > stop && alpha > 0;
        const float w = hit ? alpha * before : 0.f;
        T[b] = left;
        if (kMaps) weights[b] = w;
        mass += w, largest = mx(largest, w);
        if (hit) number += 1, transmitted += before;
        if (w > most[b]) most[b] = w, best[b] = int32_t(row);  // of equals the nearest one stays
        // d colour / d alpha = T (its own - what lies behind); the rest is T (1 - alpha) x what lies behind.
        const float left_over = __fdividef(1.f, 1.f - alpha), rgb[3] = {p.r, p.g, p.b};
        float square = 0;
        for (int c = 0; c < 3; ++c) {
          rest[c][b] = fnma(w, rgb[c], rest[c][b]);
          const float slope = fnma(rest[c][b], left_over, before * rgb[c]);
          square = fma(slope, slope, square);
        }
        if (hit && alpha < cap) squared += square;
      }
      float* out = call.sums.records + int64_t(__shfl_sync(kEveryLane, my_slot, k)) * call.sums.stride;
      const float opacity = exp2f(p.lo);  // as drawn: with the antialiasing compensation
      mass = warp_sum(mass), number = warp_sum(number), transmitted = warp_sum(transmitted);
      squared = warp_sum(squared), largest = warp_most(largest);
      if (lane == 0)
        out[kMass] = mass, out[kHits] = number, out[kTransmitted] = transmitted,
        out[kSquared] = opacity * opacity * squared, out[kMost] = largest;
      if (kMaps)
        for (int m = 0; m < call.map_count; ++m) {
          float total = 0;
#pragma unroll
          for (int b = 0; b < kBlocks; ++b)
            if (hits >> b & place.inside >> b & 1)
              total = fma(weights[b], call.maps[place.at(b) * call.map_count + m], total);
          total = warp_sum(total);
          if (lane == 0) out[kHead + m] = total;
        }
    }
  }
#pragma unroll
  for (int b = 0; b < kBlocks; ++b)
    if (place.has(b)) call.strongest[place.at(b)] = best[b];
}

// A row's scores over its tiles: sums, and the largest of `kMost`.
__global__ void __launch_bounds__(kThreads, 8)
    survey_rows(Rows rows, PairSums sums, int64_t n, int map_count, float* scores) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  const uint32_t count = i < n ? rows.counts[i] : 0, first = count ? rows.places[i] : 0;
  float total[kMost], most = 0;
  row_sums<kMost>(sums, first, count, 0, total);
  for (uint32_t k = 0; k < count; ++k)
    if (sums.drawn[first + k]) most = mx(most, sums.records[int64_t(first + k) * sums.stride + kMost]);
  for (int m = 0; m < map_count; ++m) {
    float weighed;
    row_sums<1>(sums, first, count, kHead + m, &weighed);
    if (i < n) scores[(kScores + m) * n + i] = weighed;
  }
  if (i >= n) return;
  for (int k = 0; k < kMost; ++k) scores[k * n + i] = total[k];
  scores[kMost * n + i] = most;
}

}  // namespace

const char* survey(const Survey& call, std::uintptr_t stream) {
  const cudaStream_t queue = queue_of(stream);
  const Frame& frame = call.frame;
  const int64_t n = frame.scene.n;
  const Picture picture(frame.view.width, frame.view.height);
  Carve of_rows(frame.rows), of_pairs(frame.pairs_kept), of_sums(call.scratch);
  const Rows rows(of_rows, n);
  const Pairs pairs(of_pairs, frame.pairs, picture.tiles(), extra_of(frame.settings, frame.scene), frame.differentiable);
  const PairSums sums(of_sums, n, frame.pairs, call.map_count);
  const Surveyed surveyed{rows.records, pairs, sums, picture, call.image, call.maps, call.map_count, call.strongest};
  if (frame.pairs) cudaMemsetAsync(sums.drawn, 0, std::size_t(frame.pairs), queue);
  launch(call.map_count ? survey_tiles<true> : survey_tiles<false>, blocks_of(picture.tiles(), kThreads / 32), kThreads,
         queue, surveyed);
  if (n) launch(survey_rows, blocks_of(n, kThreads), kThreads, queue, rows, sums, n, call.map_count, call.scores);
  return launch_error();
}

}  // namespace splat::gpu
