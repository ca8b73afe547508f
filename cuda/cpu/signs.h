// Grids of signs around places: what the corners of a cell say, interpolated (HAC, Chen et al. 2024).
#pragma once

#include <algorithm>
#include <cmath>

#include "clock.h"
#include "kernels.h"
#include "pool.h"

namespace splat::SPLAT_ISA {

constexpr std::ptrdiff_t kSignsChunk = 256;  // places of a work item
constexpr uint64_t kPrimes[3] = {1, 2'654'435'761u, 805'459'861u};  // by which cells are hashed (Müller et al. 2022)

// Where a place is in a box that is the middle half of the cube from 0 to 1, into which all of space is squeezed.
struct Squeezed {
  double at[3];
  Squeezed(const real* position, const double* box) {
    for (int k = 0; k < 3; ++k) {
      const double inside = (double(position[k]) - box[k]) / box[3 + k], far = std::fabs(inside);
      const double outside = std::copysign(2 - 1 / std::max(far, 1.0), inside);
      at[k] = (far <= 1 ? inside : outside) / 4 + 0.5;
    }
  }
};

// fn(entry, weight) for the corners around a place of one grid.
template <class Fn>
SPLAT_INLINE void at_corners(const Squeezed& place, const int64_t* grid, Fn&& fn) {
  const int axes = int(grid[0]);
  const int64_t side = grid[4], size = grid[5], first = grid[6];
  const bool dense = grid[7] != 0;
  int64_t low[3];
  double rest[3];
  for (int k = 0; k < axes; ++k) {
    const double scaled = place.at[grid[1 + k]] * double(side);
    const double cell = std::max(0.0, std::min(std::floor(scaled), double(side - 1)));
    low[k] = int64_t(cell), rest[k] = scaled - cell;
  }
  for (int corner = 0; corner < 1 << axes; ++corner) {  // in binary, an axis' digit is the one of 2^axis
    double weight = 1;
    int64_t index = 0;
    uint64_t hashed = 0;
    for (int k = 0; k < axes; ++k) {
      const int64_t at = low[k] + (corner >> k & 1);
      weight *= corner >> k & 1 ? rest[k] : 1 - rest[k];
      index = index * (side + 1) + at;
      hashed ^= uint64_t(at) * kPrimes[k];
    }
    fn(first + (dense ? index : int64_t(hashed % uint64_t(size))), weight);
  }
}

static void signs(const Signs& s) {
  StageClock clock;
  const auto *table = static_cast<const real*>(s.table), *positions = static_cast<const real*>(s.positions);
  auto* out = static_cast<real*>(s.out);
  const int channels = s.channels;
  parallel_for((s.n + kSignsChunk - 1) / kSignsChunk, [&](std::ptrdiff_t item) {
    const int64_t end = std::min<int64_t>(s.n, (item + 1) * kSignsChunk);
    for (int64_t i = item * kSignsChunk; i < end; ++i) {
      const Squeezed place(positions + 3 * i, s.box);
      for (int grid = 0; grid < s.grid_count; ++grid) {
        double found[kMostSigns] = {};
        at_corners(place, s.grids + 8 * grid, [&](int64_t entry, double weight) {
          for (int c = 0; c < channels; ++c) found[c] += table[entry * channels + c] >= 0 ? weight : -weight;
        });
        for (int c = 0; c < channels; ++c) out[(i * s.grid_count + grid) * channels + c] = real(found[c]);
      }
    }
  });
  clock.done(kOther);
}

// Of the numbers whose signs these are, as if they were the signs where they are within -1 and 1. A grid's entries are
// its own: each is one item, which adds in the order of places.
static void signs_backward(const SignsGradients& g) {
  StageClock clock;
  const auto *table = static_cast<const real*>(g.table), *positions = static_cast<const real*>(g.positions);
  const auto* v_out = static_cast<const real*>(g.v_out);
  auto* v_table = static_cast<real*>(g.v_table);
  const int channels = g.channels;
  parallel_for(g.grid_count, [&](std::ptrdiff_t grid) {
    const int64_t* own = g.grids + 8 * grid;
    const int64_t begin = own[6] * channels, end = begin + own[5] * channels;
    std::fill(v_table + begin, v_table + end, real(0));
    for (int64_t i = 0; i < g.n; ++i) {
      const real* pull = v_out + (i * g.grid_count + grid) * channels;
      at_corners(Squeezed(positions + 3 * i, g.box), own, [&](int64_t entry, double weight) {
        for (int c = 0; c < channels; ++c) v_table[entry * channels + c] += real(weight) * pull[c];
      });
    }
    for (int64_t k = begin; k < end; ++k) v_table[k] = std::fabs(table[k]) <= 1 ? v_table[k] : real(0);
  });
  clock.done(kOther);
}

}  // namespace splat::SPLAT_ISA
