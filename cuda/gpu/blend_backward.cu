// The gradients of blending, front to back again: a warp has a chunk of a tile's list, a lane one pixel
// of each of the tile's eight blocks, so that the sums over pixels that make up a Gaussian's gradient
// stay in registers. The only state beyond transmittance is S = what is still to come of
// v . (colour behind).
#include "backward.h"
#include "launch.h"
#include "tile.h"

namespace splat::gpu {
namespace {

constexpr int kThreads = 128;
// How many blocks a processor has at a time is said of the larger kernels: left to itself, ptxas takes so
// few registers for some cards that a few values spill.

struct Blended {
  const Record* records;
  Pairs pairs;
  PairSums sums;
  Picture picture;
  ExtraChannels extra;
  int maps;  // their number
  const float *image, *alpha, *extra_out, *v_image, *v_alpha, *v_extra, *map_values;
};

// Where blending stood at a chunk's start, and d loss / d pixel.
template <bool kWeighed>
struct Pixels {
  float T[kBlocks], S[kBlocks], v[3][kBlocks];

  __device__ Pixels(const Blended& call, const LanePixels& place, int lane, const float* state) {
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
      T[b] = S[b] = v[0][b] = v[1][b] = v[2][b] = 0;
      if (!place.has(b)) continue;
      const int64_t pixel = place.at(b);
      const float* reached = state ? state + b * 32 + lane : nullptr;
      T[b] = reached ? reached[0] : 1.f;
      if (call.v_image)
        for (int c = 0; c < 3; ++c) {
          v[c][b] = call.v_image[3 * pixel + c];
          const float rest = call.image[3 * pixel + c] - (reached ? reached[(1 + c) * kPixels] : 0.f);
          S[b] = fma(v[c][b], rest, S[b]);
        }
      if (call.v_alpha) S[b] -= call.v_alpha[pixel] * (1 - call.alpha[pixel]);
      if (kWeighed && call.v_extra)
        for (int e = 0; e < call.extra.count; ++e) {
          const int64_t at = pixel * call.extra.count + e;
          const float rest = call.extra_out[at] - (reached ? reached[(4 + e) * kPixels] : 0.f);
          S[b] = fma(call.v_extra[at], rest, S[b]);
        }
    }
  }
};

// A column of what blending weights are multiplied by before they are summed: gradients of the extra
// channels, then maps.
__device__ __forceinline__ float weight_at(const Blended& call, int64_t pixel, int column) {
  if (column < call.extra.count) return call.v_extra ? call.v_extra[pixel * call.extra.count + column] : 0.f;
  return call.map_values[pixel * call.maps + column - call.extra.count];
}

template <bool kAbsoluteToo, bool kWeighed>
__global__ void __launch_bounds__(kThreads, kWeighed ? 3 : 5) take_back(Blended call) {
  const int lane = threadIdx.x % 32, tiles = call.picture.tiles();
  const int64_t item = int64_t(blockIdx.x) * (kThreads / 32) + threadIdx.x / 32;
  const float* state = nullptr;
  int index = int(item);
  uint32_t skipped = 0;
  if (item >= tiles) {
    const uint32_t chunk = uint32_t(item - tiles);
    if (chunk >= call.pairs.chunk_starts[tiles]) return;
    index = int(call.pairs.chunk_tiles[chunk]);
    skipped = (chunk - call.pairs.chunk_starts[index] + 1) * kChunk;
    state = call.pairs.states + int64_t(chunk) * (4 + call.extra.count) * kPixels;
  }
  const uint32_t begin = call.pairs.starts[index] + skipped, stop_at = call.pairs.starts[index + 1];
  const uint32_t end = stop_at - begin > kChunk ? begin + kChunk : stop_at;
  if (begin == end) return;
  const ScreenTile tile(call.picture, index);
  const LanePixels place(call.picture, tile, lane);
  Pixels<kWeighed> pixels(call, place, lane, state);
  const float base_x = centre(column_of(0, lane)), base_y = centre(row_of(0, lane));
  const float stop = float(kTransmittanceStop), cap = float(kMaxAlpha);
  for (uint32_t first = begin; first < end; first += 32) {
    const uint32_t mine = first + lane;
    const uint32_t my_hits = mine < end ? call.pairs.hits[mine] : 0, my_row = mine < end ? call.pairs.rows[mine] : 0,
                   my_slot = mine < end ? call.pairs.slots[mine] : 0;
    if (my_hits) call.sums.drawn[my_slot] = 1;
    for (uint32_t todo = __ballot_sync(kEveryLane, my_hits != 0); todo; todo &= todo - 1) {
      const int k = __ffs(int(todo)) - 1;
      const uint32_t hits = __shfl_sync(kEveryLane, my_hits, k), row = __shfl_sync(kEveryLane, my_row, k);
      const Record& record = call.records[row];
      const Placed p = tile.place(record);
      float s[8] = {}, last = 0, ax = 0, ay = 0, weights[kWeighed ? kBlocks : 1];
#pragma unroll
      for (int b = 0; b < kBlocks; ++b) {
        if (kWeighed) weights[b] = 0;
        if (!(hits >> b & 1)) continue;
        const Offset d(p, base_x + float(column_of(b, 0)), base_y + float(row_of(b, 0)));
        const float alpha = d.alpha(), T = pixels.T[b], left = fnma(alpha, T, T);
        const bool unfinished = left > stop;
        const float w = unfinished ? alpha * T : 0.f;
        pixels.T[b] = left;
        float D = fma(pixels.v[0][b], p.r, fma(pixels.v[1][b], p.g, pixels.v[2][b] * p.b));
        if (kWeighed) {
          weights[b] = w;
          if (call.v_extra && place.has(b)) {
            const float* v = call.v_extra + place.at(b) * call.extra.count;
            for (int e = 0; e < call.extra.count; ++e) D = fma(v[e], call.extra.value(record, row, e), D);
          }
        }
        const float S = fnma(w, D, pixels.S[b]);
        pixels.S[b] = S;
        // Nothing where alpha was capped.
        const float g = unfinished && alpha < cap ? alpha * fnma(S, __fdividef(1.f, 1.f - alpha), T * D) : 0.f;
        const float gx = g * d.x, gy = g * d.y;
        s[0] += g, s[1] += gx, s[2] += gy;
        s[3] = fma(gx, d.x, s[3]), s[4] = fma(gx, d.y, s[4]), s[5] = fma(gy, d.y, s[5]);
        s[6] = fma(w, pixels.v[0][b], s[6]), s[7] = fma(w, pixels.v[1][b], s[7]), last = fma(w, pixels.v[2][b], last);
        if (kAbsoluteToo) ax += fabsf(gx * p.n0), ay += fabsf(fma(gx, p.n1, gy * p.n2));
      }
      float* out = call.sums.records + int64_t(__shfl_sync(kEveryLane, my_slot, k)) * call.sums.stride;
      const float one = sum8(s, lane);
      if (lane % 4 == 0) out[lane / 4] = one;
      last = warp_sum(last);
      if (lane == 1) out[8] = last;
      if (kAbsoluteToo) {
        ax = warp_sum(ax), ay = warp_sum(ay);
        if (lane == 2) out[kAbsolute] = ax;
        if (lane == 3) out[kAbsolute + 1] = ay;
      }
      if (kWeighed)
        for (int column = 0; column < call.extra.count + call.maps; ++column) {
          float total = 0;
#pragma unroll
          for (int b = 0; b < kBlocks; ++b)
            if (hits >> b & place.inside >> b & 1)
              total = fma(weights[b], weight_at(call, place.at(b), column), total);
          total = warp_sum(total);
          if (lane == 0) out[kHead + column] = total;
        }
    }
  }
}

}  // namespace

const char* blend_backward(const Backward& call, const Rows& rows, const Pairs& pairs, const PairSums& sums,
                           cudaStream_t queue) {
  const Picture picture(call.frame.view.width, call.frame.view.height);
  const ExtraChannels extra(call.frame.settings, call.frame.scene);
  const Blended blended{rows.records,   pairs,        sums,         picture,      extra,  call.map_count, call.image, call.alpha,
                        call.extra, call.v_image, call.v_alpha, call.v_extra, call.maps};
  if (!call.frame.pairs) return nullptr;
  cudaMemsetAsync(sums.drawn, 0, std::size_t(call.frame.pairs), queue);
  const bool absolute = call.frame.settings.absolute, weighed = extra.count + call.map_count > 0;
  const auto kernel = absolute ? (weighed ? take_back<true, true> : take_back<true, false>)
                               : (weighed ? take_back<false, true> : take_back<false, false>);
  const int64_t items = picture.tiles() + Pairs::most_chunks(call.frame.pairs);
  launch(kernel, blocks_of(items, kThreads / 32), kThreads, queue, blended);
  return launch_error();
}

}  // namespace splat::gpu
