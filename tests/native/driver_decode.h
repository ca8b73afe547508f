// Decoding of anchors for the test driver: each table against the double one and with any number of
// threads, then broken input.
#pragma once

#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "driver_fuzz.h"
#include "kernels.h"
#include "pool.h"

namespace splat {
namespace anchors {

using fuzz::Dice;
using fuzz::Guarded;
using fuzz::random_numbers;

constexpr int kColumns[5] = {3, 4, 3, 1, 3};  // of means, quaternions, scales, opacities, colours

// A call with its arrays, of which a share may be broken.
template <class Real>
struct Case {
  Anchors call{};
  Guarded<Real> positions, features, reach, offsets, masks, weights[6], out[5], v_out[5], v_rows[4], v_weights[6];
  Guarded<int64_t> rows, source;
  std::vector<bool> named;

  Case(Dice& dice, int64_t n, int features_, int slots, int hidden, bool masked, double broken) {
    call.n = n, call.feature_count = features_, call.slots = slots, call.hidden = hidden, call.keep = true;
    call.distance = dice.chance(0.5);
    for (double& part : call.centre) part = double(float(3 * dice.normal()));
    const auto drawn = [&](std::size_t count, double scale) {
      Guarded<Real> made = random_numbers<Real>(dice, count, broken);
      for (std::size_t i = 0; i < count; ++i) made[i] = Real(float(made[i] * Real(scale)));
      return made;
    };
    positions = drawn(3 * n, 1), features = drawn(n * features_, 1), reach = drawn(6 * n, 0.3);
    offsets = drawn(3 * n * slots, 1);
    if (masked) masks = drawn(n * slots, 1);
    for (int h = 0; h < 3; ++h) {
      const int outputs = slots * (h == 0 ? 1 : h == 1 ? 3 : 7);
      weights[2 * h] = drawn(std::size_t(features_ + 5) * hidden, 0.2);
      weights[2 * h + 1] = drawn(std::size_t(hidden + 1) * outputs, 0.2);
    }
    named.resize(n);
    std::vector<int64_t> some;
    for (int64_t i = 0; i < n; ++i)
      if ((named[i] = dice.chance(0.6))) some.push_back(i);
    if (dice.chance(0.3))
      for (std::size_t i = 1; i < some.size(); ++i) std::swap(some[i], some[dice.next() % (i + 1)]);
    rows = Guarded<int64_t>(some.size());
    for (std::size_t i = 0; i < some.size(); ++i) rows[i] = some[i];
    call.positions = positions.data(), call.features = features.data(), call.reach = reach.data();
    call.offsets = offsets.data(), call.masks = masked ? masks.data() : nullptr;
    call.rows = rows.data(), call.count = int64_t(some.size());
    call.opacity = {.first = weights[0].data(), .second = weights[1].data()};
    call.color = {.first = weights[2].data(), .second = weights[3].data()};
    call.covariance = {.first = weights[4].data(), .second = weights[5].data()};
  }

  // Forward and backward; `unused` is a bit for each gradient that there is none of.
  void run(const Table& table, uint64_t seed, int unused = 0) {
    void* decoding = table.decoding_new();
    const std::size_t n = std::size_t(table.decode_count(decoding, call));
    for (int i = 0; i < 5; ++i) out[i] = Guarded<Real>(n * kColumns[i]);
    source = Guarded<int64_t>(n);
    table.decode(decoding, {.means = out[0].data(),
                            .quats = out[1].data(),
                            .scales = out[2].data(),
                            .opacities = out[3].data(),
                            .colors = out[4].data(),
                            .source = source.data()});
    Dice dice(seed);
    for (int i = 0; i < 5; ++i) {
      v_out[i] = random_numbers<Real>(dice, n * kColumns[i], 0);
      for (std::size_t k = 0; k < n * kColumns[i]; ++k) v_out[i][k] = Real(float(v_out[i][k]));
    }
    const Guarded<Real>* like[4] = {&features, &reach, &offsets, &masks};
    for (int i = 0; i < 4; ++i) v_rows[i] = Guarded<Real>(like[i]->size());
    for (int i = 0; i < 6; ++i) v_weights[i] = Guarded<Real>(weights[i].size());
    const auto given = [&](int i) { return unused >> i & 1 ? nullptr : v_out[i].data(); };
    const DecodedGradients g{.quats = out[1].data(),
                             .scales = out[2].data(),
                             .colors = out[4].data(),
                             .v_means = given(0),
                             .v_quats = given(1),
                             .v_scales = given(2),
                             .v_opacities = given(3),
                             .v_colors = given(4),
                             .v_features = v_rows[0].data(),
                             .v_reach = v_rows[1].data(),
                             .v_offsets = v_rows[2].data(),
                             .v_masks = call.masks ? v_rows[3].data() : nullptr,
                             .v_opacity = {.first = v_weights[0].data(), .second = v_weights[1].data()},
                             .v_color = {.first = v_weights[2].data(), .second = v_weights[3].data()},
                             .v_covariance = {.first = v_weights[4].data(), .second = v_weights[5].data()}};
    table.decode_backward(decoding, g);
    table.decoding_delete(decoding);
  }

  template <class Fn>
  void every(Fn&& fn) {
    for (auto* each : {&positions, &features, &reach, &offsets, &masks}) fn(*each);
    for (auto* group : {weights, v_weights})
      for (int i = 0; i < 6; ++i) fn(group[i]);
    for (int i = 0; i < 5; ++i) fn(out[i]), fn(v_out[i]);
    for (int i = 0; i < 4; ++i) fn(v_rows[i]);
  }
};

// The largest difference of two arrays over the largest number of the second; 1e9 if they do not fit.
template <class A, class B>
double difference(Guarded<A>& a, Guarded<B>& b) {
  if (a.size() != b.size()) return 1e9;
  double worst = 0, largest = 1e-30;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double off = std::fabs(double(a[i]) - double(b[i]));
    worst = off <= worst ? worst : off, largest = std::fmax(largest, std::fabs(double(b[i])));
  }
  return worst / largest;
}

// Failures: results off those of `truth` by more than `within`.
template <class A, class B>
int compared(const Table& table, Case<A>& mine, Case<B>& truth, double within, const char* what) {
  double worst = difference(mine.source, truth.source);
  for (int i = 0; i < 5; ++i) worst = std::fmax(worst, difference(mine.out[i], truth.out[i]));
  for (int i = 0; i < 4; ++i) worst = std::fmax(worst, difference(mine.v_rows[i], truth.v_rows[i]));
  for (int i = 0; i < 6; ++i) worst = std::fmax(worst, difference(mine.v_weights[i], truth.v_weights[i]));
  if (worst <= within) return 0;
  std::printf("FAILED: %s: decoding %s is off by %g\n", table.name, what, worst);
  return 1;
}

template <class Real>
int check(const Table& table) {
  const int sizes[][4] = {{0, 32, 10, 32},  {1, 32, 10, 32}, {150, 1, 1, 16},
                          {700, 32, 10, 32}, {300, 50, 5, 48}, {90, 64, 16, 64}};
  int failures = 0;
  for (const auto& size : sizes)
    for (const bool masked : {false, true}) {
      const auto made = [&](auto real) {
        Dice dice(uint64_t(size[0] + masked));
        return Case<decltype(real)>(dice, size[0], size[1], size[2], size[3], masked, 0);
      };
      set_threads(1);
      auto mine = made(Real(0)), others = made(Real(0));
      auto truth = made(0.0);
      mine.run(table, 7), truth.run(*::splat::table("f64"), 7);
      failures += compared(table, mine, truth, 1e-5, "against the double build");
      set_threads(3);
      others.run(table, 7);
      failures += compared(table, others, mine, 0, "with more threads");
    }
  return failures;
}

template <class Real>
void broken(const Table& table, Dice& dice, fuzz::Report& report) {
  const bool healthy = dice.chance(0.3);
  Case<Real> made(dice, dice.size(700) - 1, 1 + dice.below(64), 1 + dice.below(16), 16 * (1 + dice.below(4)), dice.chance(0.5),
                  healthy ? 0 : 0.01);
  made.run(table, dice.next(), dice.below(32));
  bool intact = made.rows.intact() && made.source.intact(), finite = true, zero = true;
  made.every([&](Guarded<Real>& each) {
    intact &= each.intact();
    if (healthy) finite &= each.finite(0, each.size());
  });
  report.expect(intact, "decoding wrote outside of an array");
  report.expect(finite, "decoding of finite numbers gave others");
  bool written = made.source.written();
  for (auto& each : made.out) written &= each.written();
  for (auto& each : made.v_weights) written &= each.written();
  for (auto& each : made.v_rows) {
    written &= each.written();
    const std::size_t columns = made.call.n ? each.size() / std::size_t(made.call.n) : 0;
    for (std::size_t i = 0; i < made.named.size(); ++i)
      if (!made.named[i]) zero &= each.zero(i * columns, columns);
  }
  report.expect(written, "decoding left something unwritten");
  report.expect(zero, "decoding gave a row a gradient that was not decoded");

  const int64_t n = made.call.n;
  Guarded<uint64_t> seen(std::size_t(n + 63) / 64);
  Frustum frustum{
      .positions = made.call.positions,
      .reach = made.call.reach,
      .n = n,
      .view = {.world_to_camera = {}, .fx = 40, .fy = 50, .cx = 30, .cy = 20, .width = 64, .height = 48},
      .near = 0.01,
      .seen = seen.data()};
  for (double& part : frustum.view.world_to_camera) part = dice.chance(0.02) ? dice.broken() : dice.normal();
  const std::size_t count = std::size_t(table.in_frustum(frustum));
  Guarded<int64_t> rows(count);
  table.frustum_rows({.seen = seen.data(), .n = n, .rows = rows.data()});
  bool ascending = true;
  for (std::size_t i = 0; i < count; ++i) ascending &= rows[i] >= (i ? rows[i - 1] + 1 : 0) && rows[i] < n;
  report.expect(seen.intact() && rows.intact() && seen.written(), "in_frustum wrote outside of an array, or not all of it");
  report.expect(ascending, "rows in the frustum are out of order");
}

}  // namespace anchors

// Failures of one table's decoding.
inline int check_decoding(const Table& table) {
  const int before = threads();
  const bool wide = std::string(table.name) == "f64";
  const int failures = wide ? anchors::check<double>(table) : anchors::check<float>(table);
  set_threads(before);
  return failures;
}

}  // namespace splat
