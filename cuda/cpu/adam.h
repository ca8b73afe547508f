// Adam (Kingma and Ba 2015, as torch.optim.Adam computes it), fused into one pass over the rows.
//
// A group of W rows is as many whole vectors as a row has columns, and every group meets the same
// pattern of columns. Rows out of sight may be left as they are, columns that have no gradient yet
// too; the gradient of harmonics may come as factors, and values and moments may be bfloat16.
#pragma once

#include <splat/sh.h>

#include <cmath>

#include "clock.h"
#include "columns.h"
#include "half.h"
#include "kernels.h"
#include "pool.h"
#include "splat/losses.h"

namespace splat::SPLAT_ISA {

constexpr std::ptrdiff_t kAdamRows = 256;  // of a work item; a multiple of every W
constexpr std::ptrdiff_t kAsideRows = 128;  // a loop that is run meanwhile waits for an item to end
constexpr int kMaxHarmonics = 3 * (kMaxShDegree + 1) * (kMaxShDegree + 1);

// What a step does at the columns of W rows: their rates, and whether they move at all.
struct AdamPattern {
  Buffer<real> rates, active;  // [columns][W]
  Buffer<bool> any;            // [columns] whether the vector has an active element

  void set(const Adam& step) {
    const int count = step.columns * W;
    rates.resize(count), active.resize(count);
    for (int i = 0; i < count; ++i) {
      const int column = i % step.columns;
      rates[i] = real(column < step.head ? step.rate : step.tail_rate);
      active[i] = real(column >= step.begin && column < step.end);
    }
    any.resize(step.columns);
    for (int j = 0; j < step.columns; ++j) any[j] = sum(load(&active[j * W])) > 0;
  }
};

// The dense gradient of W rows of harmonics: basis of the direction times gradient of the colour.
SPLAT_INLINE void harmonics_gradient(const real* factors, int lanes_here, int degree, int columns, real* out) {
  F v[6], basis[kMaxHarmonics / 3], rows[kMaxHarmonics];
  load_columns(factors, 6, 6, lanes_here, v);
  sh_basis(degree, v[3], v[4], v[5], basis, real(0));
  const int used = (degree + 1) * (degree + 1);
  for (int k = 0; k < used; ++k)
    for (int c = 0; c < 3; ++c) rows[3 * k + c] = basis[k] * v[c];
  for (int k = 3 * used; k < columns; ++k) rows[k] = set1(0);
  store_columns(rows, columns, W, out, columns);
}

template <class Value, class Moment>
class AdamStep {
 public:
  AdamStep(const Adam& step, const AdamPattern& pattern)
      : step_(step), pattern_(pattern), partial_(step.begin > 0 || step.end < step.columns),
        numbers_{.toward1 = real(1 - step.beta1),
                 .toward2 = real(1 - step.beta2),
                 .unbias1 = real(1 / step.correction1),
                 .unbias_root2 = real(1 / std::sqrt(step.correction2)),
                 .epsilon = real(step.epsilon)} {}

  // `rows` rows from `row` on, at most W.
  void group(std::ptrdiff_t row, int rows) const {
    alignas(64) real keep[W];
    const bool all = seen(row, rows, keep);
    if (!all && sum(load(keep)) == 0) return;
    const std::ptrdiff_t at = row * step_.columns;
    alignas(64) real expanded[kMaxHarmonics * W];
    const real* gradient = static_cast<const real*>(step_.gradient) + (step_.gradient ? at : 0);
    if (step_.factors) {
      harmonics_gradient(static_cast<const real*>(step_.factors) + 6 * row, rows, step_.degree, step_.columns, expanded);
      gradient = expanded;
    }
    Value* values = static_cast<Value*>(step_.values) + at;
    Moment *first = static_cast<Moment*>(step_.first) + at, *second = static_cast<Moment*>(step_.second) + at;
    if (rows < W) return part(at, rows, keep, gradient, values, first, second);
    if (all && !partial_) {
      for (int j = 0; j < step_.columns; ++j) vector<false>(at, j, gradient, values, first, second, nullptr);
      return;
    }
    const real* moves = all ? pattern_.active.data() : moving(rows, keep);
    for (int j = 0; j < step_.columns; ++j)
      if (pattern_.any[j]) vector<true>(at, j, gradient, values, first, second, moves);
  }

 private:
  struct PartRows {
    Buffer<real> gradient, moves;
    Buffer<Value> values;
    Buffer<Moment> first, second;
  };

  // Whether all rows are to move; if not, keep[lane] is 1 where one is.
  bool seen(std::ptrdiff_t row, int rows, real* keep) const {
    if (!step_.visible) {
      for (int lane = 0; lane < W; ++lane) keep[lane] = lane < rows;
      return rows == W;
    }
    int count = 0;
    for (int lane = 0; lane < W; ++lane) {
      const bool moves = lane < rows && step_.visible[row + lane];
      keep[lane] = moves;
      count += moves;
    }
    return count == W;
  }

  template <bool kMasked>
  void vector(std::ptrdiff_t at, int j, const real* gradient, Value* values, Moment* first, Moment* second,
              const real* moves) const {
    const int i = j * W;
    const F old_first = load(first + i), old_second = load(second + i), old = load(values + i);
    F m = old_first, v = old_second;
    const F change = adam_step(numbers_, load(gradient + i), m, v);
    F value = fnma(load(pattern_.rates.data() + i), change, old);
    if constexpr (kMasked) {
      const M move = load(moves + i) > set1(real(0.5));
      m = sel(move, m, old_first), v = sel(move, v, old_second), value = sel(move, value, old);
    }
    const uint32_t key = step_.seed + uint32_t(at + i) * 2u;
    store_rounded(first + i, m, key);
    store_rounded(second + i, v, key + 1u);
    store_rounded(values + i, value, key + kValueKeys);
  }

  // 1 for each element of W rows that is to move.
  const real* moving(int rows, const real* keep) const {
    const int columns = step_.columns;
    real* moves = own<PartRows>().moves.resize(std::size_t(columns) * W);
    for (int i = 0; i < columns * W; ++i) moves[i] = 0;
    for (int lane = 0; lane < rows; ++lane)
      for (int c = 0; c < columns; ++c) moves[lane * columns + c] = keep[lane] * pattern_.active[c];
    return moves;
  }

  // The last rows, fewer than W, through copies: nothing beyond them is read or written.
  void part(std::ptrdiff_t at, int rows, const real* keep, const real* gradient, Value* values, Moment* first,
            Moment* second) const {
    const int columns = step_.columns, count = rows * columns;
    PartRows& p = own<PartRows>();
    const std::size_t room = std::size_t(columns) * W;
    real* g = p.gradient.resize(room);
    Value* x = p.values.resize(room);
    Moment *m = p.first.resize(room), *v = p.second.resize(room);
    fill(g, g + room, real(0)), fill(x, x + room, Value(0));
    fill(m, m + room, Moment(0)), fill(v, v + room, Moment(0));
    std::memcpy(g, gradient, count * sizeof(real)), std::memcpy(x, values, count * sizeof(Value));
    std::memcpy(m, first, count * sizeof(Moment)), std::memcpy(v, second, count * sizeof(Moment));
    const real* moves = moving(rows, keep);
    for (int j = 0; j < columns; ++j) vector<true>(at, j, g, x, m, v, moves);
    std::memcpy(values, x, count * sizeof(Value));
    std::memcpy(first, m, count * sizeof(Moment)), std::memcpy(second, v, count * sizeof(Moment));
  }

  const Adam& step_;
  const AdamPattern& pattern_;
  bool partial_;
  AdamNumbers<real> numbers_;
};

// The rows of a work item of so many.
template <class Value, class Moment>
static void adam_item(const AdamStep<Value, Moment>& all, std::ptrdiff_t rows, std::ptrdiff_t item, std::ptrdiff_t size) {
  const std::ptrdiff_t end = least<std::ptrdiff_t>(rows, (item + 1) * size);
  for (std::ptrdiff_t row = item * size; row < end; row += W)
    all.group(row, (int)least<std::ptrdiff_t>(W, end - row));
}

template <class Value, class Moment>
static void adam_rows(const Adam& step, const AdamPattern& pattern) {
  const AdamStep<Value, Moment> all(step, pattern);
  parallel_for((step.rows + kAdamRows - 1) / kAdamRows,
               [&](std::ptrdiff_t item) { adam_item(all, step.rows, item, kAdamRows); });
}

// The step of a column that goes on while its caller does other things.
template <class Value, class Moment>
class AdamAside : public Aside {
 public:
  explicit AdamAside(const Adam& step) : step_(step), all_(step_, pattern_) { pattern_.set(step_); }
  void item(std::ptrdiff_t i) override { adam_item(all_, step_.rows, i, kAsideRows); }

 private:
  const Adam step_;
  AdamPattern pattern_;
  const AdamStep<Value, Moment> all_;
};

static void adam(const Adam& step) {
  if (step.rows < 1) return;
  StageClock clock;
  AdamPattern& pattern = own<AdamPattern>();
  pattern.set(step);
  if (step.half_values)
    step.half ? adam_rows<Half, Half>(step, pattern) : adam_rows<Half, real>(step, pattern);
  else
    step.half ? adam_rows<real, Half>(step, pattern) : adam_rows<real, real>(step, pattern);
  clock.done(kAdam);
}

template <class Value, class Moment>
static std::uint64_t adam_begun(const Adam& step) {
  return begin((step.rows + kAsideRows - 1) / kAsideRows, std::make_unique<AdamAside<Value, Moment>>(step));
}

// What to `finish` it by.
static std::uint64_t adam_aside(const Adam& step) {
  if (step.rows < 1) return 0;
  StageClock clock;
  const std::uint64_t number =
      step.half_values ? (step.half ? adam_begun<Half, Half>(step) : adam_begun<Half, real>(step))
                       : (step.half ? adam_begun<real, Half>(step) : adam_begun<real, real>(step));
  clock.done(kAdam);
  return number;
}

}  // namespace splat::SPLAT_ISA
