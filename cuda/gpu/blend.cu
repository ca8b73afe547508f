// Alpha blending, front to back: a block of threads has a tile, a warp a block of its pixels, a thread one.
#include "launch.h"
#include "order.h"
#include "tile.h"

namespace splat::gpu {
namespace {

constexpr int kBatch = 128;  // Gaussians of a tile handled at a time
static_assert(kChunk % kBatch == 0);

struct Blending {
  const Record* records;
  Pairs pairs;
  Picture picture;
  ExtraChannels extra;
  int first;  // of the extra channels that this pass blends
  bool keep_states;
  const float* background;
  float *image, *alpha, *extra_out;
};

// Nothing branches on a pixel. T goes on falling in a finished pixel, so that being above the stop is all
// there is to being unfinished, and what the picture shows (`kept`) leaves T's chain of products alone.
// A pass blends RGB and up to kExtra extra channels; where there are more, each pass blends RGB anew.
template <int kExtra>
__global__ void __launch_bounds__(kPixels, 4) blend_tile(Blending call) {
  __shared__ Placed batch[kBatch];
  __shared__ float values[kBatch][kExtra ? kExtra : 1];
  __shared__ uint32_t drawn[kBlocks][kBatch / 32];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, index = blockIdx.x;
  const ScreenTile tile(call.picture, index);
  const int column = column_of(warp, lane), row = row_of(warp, lane);
  const float px = centre(column), py = centre(row), stop = float(kTransmittanceStop);
  const bool inside = tile.left + column < call.picture.width && tile.top + row < call.picture.height;
  const int channels = 4 + call.extra.count, extras = min(kExtra, call.extra.count - call.first);
  float T = inside ? 1.f : 0.f, kept = 1, rgb[3] = {0, 0, 0}, sums[kExtra ? kExtra : 1] = {};
  const uint32_t start = call.pairs.starts[index], end = call.pairs.starts[index + 1];
  uint32_t first = start;
  for (; first < end; first += kBatch) {
    if (!__syncthreads_or(T > stop)) break;
    if (call.keep_states && first > start && (first - start) % kChunk == 0) {
      const int64_t chunk = call.pairs.chunk_starts[index] + (first - start) / kChunk - 1;
      float* state = call.pairs.states + chunk * channels * kPixels + threadIdx.x;
      state[0] = T;
      for (int c = 0; c < 3; ++c) state[(1 + c) * kPixels] = rgb[c];
#pragma unroll
      for (int e = 0; e < kExtra; ++e)
        if (e < extras) state[(4 + call.first + e) * kPixels] = sums[e];
    }
    const int count = min(kBatch, int(end - first));
    if (int(threadIdx.x) < count) {
      const uint32_t at = call.pairs.rows[first + threadIdx.x];
      const Record record = call.records[at];
      batch[threadIdx.x] = tile.place(record);
#pragma unroll
      for (int e = 0; e < kExtra; ++e)
        if (e < extras) values[threadIdx.x][e] = call.extra.value(record, at, call.first + e);
    }
    __syncthreads();
    bool open = __any_sync(kEveryLane, T > stop);
    for (int g = 0; g < kBatch; g += 32) {
      uint32_t mine = 0;
      if (open && g < count) {
        const bool meets = g + lane < count && reaches(batch[g + lane], warp);
        for (uint32_t todo = __ballot_sync(kEveryLane, meets); todo; todo &= todo - 1) {
          const int k = __ffs(int(todo)) - 1;
          const Placed p = batch[g + k];
          const float alpha = Offset(p, px, py).alpha(), left = fnma(alpha, T, T);
          const float w = left > stop ? alpha * T : 0.f;
          kept -= w;
          T = left;
          rgb[0] = fma(w, p.r, rgb[0]), rgb[1] = fma(w, p.g, rgb[1]), rgb[2] = fma(w, p.b, rgb[2]);
#pragma unroll
          for (int e = 0; e < kExtra; ++e)
            if (e < extras) sums[e] = fma(w, values[g + k][e], sums[e]);
          if (__any_sync(kEveryLane, w > 0)) mine |= 1u << k;
        }
        open = __any_sync(kEveryLane, T > stop);
      }
      if (lane == 0) drawn[warp][g / 32] = mine;
    }
    __syncthreads();
    if (int(threadIdx.x) < count) {
      uint32_t hits = 0;
#pragma unroll
      for (int b = 0; b < kBlocks; ++b) hits |= (drawn[b][threadIdx.x / 32] >> (threadIdx.x % 32) & 1u) << b;
      call.pairs.hits[first + threadIdx.x] = uint8_t(hits);
    }
  }
  for (first += threadIdx.x; first < end; first += kPixels) call.pairs.hits[first] = 0;
  if (!inside) return;
  const int64_t pixel = int64_t(tile.top + row) * call.picture.width + tile.left + column;
  for (int c = 0; c < 3; ++c) call.image[3 * pixel + c] = fma(kept, call.background ? call.background[c] : 0.f, rgb[c]);
  call.alpha[pixel] = 1 - kept;
#pragma unroll
  for (int e = 0; e < kExtra; ++e)
    if (e < extras) call.extra_out[pixel * call.extra.count + call.first + e] = sums[e];
}

}  // namespace

int64_t pairs_bytes(int64_t pairs, int width, int height, int extra, bool differentiable) {
  Carve carve(nullptr);
  Pairs(carve, pairs, Picture(width, height).tiles(), extra, differentiable);
  return carve.bytes();
}

int64_t sorting_bytes(int64_t visible, int64_t pairs, int width, int height) {
  Carve carve(nullptr);
  Sorting(carve, visible, pairs, Picture(width, height));
  return carve.bytes();
}

const char* draw(const Draw& call, std::uintptr_t stream) {
  const cudaStream_t queue = queue_of(stream);
  const Frame& frame = call.frame;
  const Picture picture(frame.view.width, frame.view.height);
  const ExtraChannels extra(frame.settings, frame.scene);
  Carve of_rows(frame.rows), of_pairs(frame.pairs_kept), of_sorting(call.sorting);
  const Rows rows(of_rows, frame.scene.n);
  const Pairs pairs(of_pairs, frame.pairs, picture.tiles(), extra.count, frame.differentiable);
  const Sorting sorting(of_sorting, frame.visible, frame.pairs, picture);
  if (const char* error = order_pairs(rows, frame.scene.n, picture, frame.visible, pairs, frame.pairs, sorting, queue,
                                      frame.differentiable))
    return error;
  Blending blending{rows.records, pairs,     picture,    extra,     0, frame.differentiable, call.background,
                    call.image,   call.alpha, call.extra};
  do {
    const int left = extra.count - blending.first;
    auto kernel = left == 0 ? blend_tile<0> : left == 1 ? blend_tile<1> : left <= 4 ? blend_tile<4> : blend_tile<8>;
    launch(kernel, unsigned(picture.tiles()), kPixels, queue, blending);
    blending.first += 8;
  } while (blending.first < extra.count);
  return launch_error();
}

}  // namespace splat::gpu
