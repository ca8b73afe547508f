// A field of planes and lines for the test driver: each table against the double one and with any
// number of threads, then broken input.
#pragma once

#include <cmath>
#include <cstdio>
#include <string>

#include "driver_fuzz.h"
#include "kernels.h"
#include "pool.h"

namespace splat {
namespace fields {

using fuzz::Dice;
using fuzz::Guarded;
using fuzz::random_numbers;

constexpr const char* kNames[] = {"values", "gradients", "planes", "lines", "first layer", "second layer", "values alone"};

// A call with its arrays, of which a share may be broken.
template <class Real>
struct Case {
  FieldPoints call{};
  Guarded<Real> points, learned[4], v_value, v_gradient, out[7];

  Case(Dice& dice, int64_t n, int side, int channels, int hidden, double beta, double broken) {
    call.n = n, call.side = side, call.channels = channels, call.hidden = hidden, call.beta = beta;
    const auto drawn = [&](std::size_t count, double scale) {
      Guarded<Real> made = random_numbers<Real>(dice, count, broken);
      for (std::size_t i = 0; i < count; ++i) made[i] = Real(float(made[i] * Real(scale)));
      return made;
    };
    points = drawn(std::size_t(3 * n), 0.5);  // one of twenty coordinates lies outside
    learned[0] = drawn(std::size_t(3) * side * side * channels, 0.3);
    learned[1] = drawn(std::size_t(3) * side * channels, 0.5);
    learned[2] = drawn(std::size_t(3 * channels + 4) * hidden, 0.2);
    learned[3] = drawn(std::size_t(hidden + 1), 0.3);
    v_value = drawn(std::size_t(n), 1), v_gradient = drawn(std::size_t(3 * n), 0.1);
    call.points = points.data(), call.planes = learned[0].data(), call.lines = learned[1].data();
    call.first = learned[2].data(), call.second = learned[3].data();
  }

  // Forward and backward, then the values alone; `unused` is a bit for each gradient that there is none of.
  void run(const Table& table, int unused = 0) {
    const std::size_t n = std::size_t(call.n);
    out[0] = Guarded<Real>(n), out[1] = Guarded<Real>(3 * n), out[6] = Guarded<Real>(n);
    for (int i = 0; i < 4; ++i) out[2 + i] = Guarded<Real>(learned[i].size());
    void* field = table.field_new();
    call.value = out[0].data(), call.gradient = out[1].data();
    table.field(field, call);
    table.field_backward(field, {.v_value = unused & 1 ? nullptr : v_value.data(),
                                 .v_gradient = unused & 2 ? nullptr : v_gradient.data(),
                                 .v_planes = out[2].data(),
                                 .v_lines = out[3].data(),
                                 .v_first = out[4].data(),
                                 .v_second = out[5].data()});
    call.value = out[6].data(), call.gradient = nullptr;
    table.field(field, call);
    table.field_delete(field);
  }

  template <class Fn>
  void every(Fn&& fn) {
    for (auto* each : {&points, &v_value, &v_gradient}) fn(*each);
    for (auto& each : learned) fn(each);
    for (auto& each : out) fn(each);
  }
};

// Failures: results off those of `truth` by more than `within` of the largest.
template <class A, class B>
int compared(const Table& table, Case<A>& mine, Case<B>& truth, double within, const char* what) {
  int failures = 0;
  for (int i = 0; i < 7; ++i) {
    double worst = 0, largest = 1e-30;
    for (std::size_t k = 0; k < truth.out[i].size(); ++k) {
      const double off = std::fabs(double(mine.out[i][k]) - double(truth.out[i][k]));
      worst = off <= worst ? worst : off, largest = std::fmax(largest, std::fabs(double(truth.out[i][k])));
    }
    if (worst <= within * largest) continue;
    std::printf("FAILED: %s: field, %s %s are off by %g\n", table.name, kNames[i], what, worst / largest);
    ++failures;
  }
  return failures;
}

template <class Real>
int check(const Table& table) {
  const int sizes[][4] = {{0, 5, 16, 16}, {1, 3, 16, 16}, {33, 12, 32, 48}, {700, 37, 16, 64},
                          {300, 20, 48, 128}, {200, 140, 16, 16}};
  int failures = 0;
  for (const auto& size : sizes) {
    const auto made = [&](auto real) {
      Dice dice{uint64_t(size[0])};
      return Case<decltype(real)>(dice, size[0], size[1], size[2], size[3], 100, 0);
    };
    set_threads(1);
    auto mine = made(Real(0)), others = made(Real(0));
    auto truth = made(0.0);
    mine.run(table), truth.run(*::splat::table("f64"));
    // The coordinates' own rounding, times R, times beta.
    failures += compared(table, mine, truth, 1e-4, "against the double build");
    set_threads(3);
    others.run(table);
    failures += compared(table, others, mine, 0, "with more threads");
  }
  return failures;
}

template <class Real>
void broken(const Table& table, Dice& dice, fuzz::Report& report) {
  const bool healthy = dice.chance(0.3);
  Case<Real> made(dice, dice.size(400) - 1, 3 + dice.below(30), 16 * (1 + dice.below(3)), 16 * (1 + dice.below(8)),
                  std::exp(dice.between(-3, 8)), healthy ? 0 : 0.01);
  made.run(table, dice.below(4));
  bool intact = true, finite = true, written = true;
  made.every([&](Guarded<Real>& each) {
    intact &= each.intact();
    if (healthy) finite &= each.finite(0, each.size());
  });
  for (auto& each : made.out) written &= each.written();
  report.expect(intact, "a field wrote outside of an array");
  report.expect(finite, "a field of finite numbers gave others");
  report.expect(written, "a field left something unwritten");
}

}  // namespace fields

// Failures of one table's field.
inline int check_field(const Table& table) {
  const int before = threads();
  const bool wide = std::string(table.name) == "f64";
  const int failures = wide ? fields::check<double>(table) : fields::check<float>(table);
  set_threads(before);
  return failures;
}

}  // namespace splat
