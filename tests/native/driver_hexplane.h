// A field over space and time for the test driver: each table against the double one and with any
// number of threads, then broken input.
#pragma once

#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "driver_fuzz.h"
#include "kernels.h"
#include "pool.h"

namespace splat {
namespace hexplanes {

using fuzz::Dice;
using fuzz::Guarded;
using fuzz::random_numbers;

struct Sizes {
  int64_t n;
  std::vector<int> sides;
  int channels, width;
  std::vector<int> outputs;
};

// A call with its arrays, of which a share may be broken.
template <class Real>
struct Case {
  HexPoints call{};
  int scales, outputs = 0;
  Guarded<Real> points, learned[11], v_out, out[12];  // planes, lines, three layers; what is found: outputs first

  Case(Dice& dice, const Sizes& size, double broken) {
    call.n = size.n, call.channels = size.channels, call.width = size.width;
    call.scales = scales = int(size.sides.size()), call.heads = int(size.outputs.size());
    for (int i = 0; i < call.heads; ++i) call.outputs[i] = size.outputs[i], outputs += size.outputs[i];
    const auto drawn = [&](std::size_t count, double scale) {
      Guarded<Real> made = random_numbers<Real>(dice, count, broken);
      for (std::size_t i = 0; i < count; ++i) made[i] = Real(float(made[i] * Real(scale)));
      return made;
    };
    points = drawn(std::size_t(3 * size.n), 0.5), v_out = drawn(std::size_t(size.n) * outputs, 1);
    call.points = points.data();
    for (int s = 0; s < scales; ++s) {
      const std::size_t side = std::size_t(call.sides[s] = size.sides[s]), channels = std::size_t(size.channels);
      learned[s] = drawn(3 * side * side * channels, 1), learned[4 + s] = drawn(3 * side * channels, 1);
      call.space[s] = learned[s].data(), call.lines[s] = learned[4 + s].data();
    }
    const std::size_t width = std::size_t(size.width);
    learned[8] = drawn((std::size_t(scales) * size.channels + 1) * width, 0.2);
    learned[9] = drawn((width + 1) * call.heads * width, 0.2);
    learned[10] = drawn((width + 1) * outputs, 0.2);
    call.trunk = learned[8].data(), call.hidden = learned[9].data(), call.last = learned[10].data();
  }

  // Forward and backward; `unused` is a bit for each kind of gradient that there is none of.
  void run(const Table& table, int unused = 0) {
    out[0] = Guarded<Real>(std::size_t(call.n) * outputs);
    for (int i = 0; i < 11; ++i) out[1 + i] = Guarded<Real>(learned[i].size());
    void* hexplane = table.hexplane_new();
    call.out = out[0].data(), call.keep = true;
    table.hexplane(hexplane, call);
    HexGradients g{};
    g.v_out = v_out.data();
    for (int s = 0; s < scales; ++s) {
      if (!(unused & 1)) g.v_space[s] = out[1 + s].data();
      if (!(unused & 2)) g.v_lines[s] = out[5 + s].data();
    }
    g.v_trunk = out[9].data(), g.v_hidden = out[10].data(), g.v_last = out[11].data();
    table.hexplane_backward(hexplane, g);
    table.hexplane_delete(hexplane);
  }

  template <class Fn>
  void every(Fn&& fn) {
    for (auto* each : {&points, &v_out}) fn(*each);
    for (auto& each : learned) fn(each);
    for (auto& each : out) fn(each);
  }
};

// Failures: results off those of `truth` by more than `within` of their norm. A hidden unit may be on the
// other side of 0 in single precision, which changes some gradients by much and outputs by nothing.
template <class A, class B>
int compared(const Table& table, Case<A>& mine, Case<B>& truth, double within, const char* what) {
  int failures = 0;
  for (int i = 0; i < 12; ++i) {
    double off = 0, all = 1e-60;
    for (std::size_t k = 0; k < truth.out[i].size(); ++k) {
      const double away = double(mine.out[i][k]) - double(truth.out[i][k]);
      off += away * away, all += double(truth.out[i][k]) * double(truth.out[i][k]);
    }
    if (std::sqrt(off) <= within * std::sqrt(all)) continue;
    std::printf("FAILED: %s: hexplane, array %d %s is off by %g\n", table.name, i, what, std::sqrt(off / all));
    ++failures;
  }
  return failures;
}

template <class Real>
int check(const Table& table) {
  const std::vector<Sizes> sizes = {{0, {5}, 16, 16, {3}},
                                    {1, {2}, 16, 16, {1}},
                                    {33, {7, 14}, 32, 48, {3, 3, 4}},
                                    {700, {16, 32}, 16, 32, {3, 3, 4}},
                                    {300, {4, 8, 16, 32}, 48, 64, {3, 3, 4, 6}}};
  int failures = 0;
  for (const auto& size : sizes) {
    const auto made = [&](auto real) {
      Dice dice{uint64_t(size.n)};
      return Case<decltype(real)>(dice, size, 0);
    };
    set_threads(1);
    auto mine = made(Real(0)), others = made(Real(0));
    auto truth = made(0.0);
    mine.run(table), truth.run(*::splat::table("f64"));
    failures += compared(table, mine, truth, 5e-3, "against the double build");
    set_threads(3);
    others.run(table);
    failures += compared(table, others, mine, 0, "with more threads");
  }
  return failures;
}

template <class Real>
void broken(const Table& table, Dice& dice, fuzz::Report& report) {
  const bool healthy = dice.chance(0.3);
  Sizes size{dice.size(300) - 1, {}, 16 * (1 + dice.below(3)), 16 * (1 + dice.below(4)), {}};
  for (int s = 1 + dice.below(4); s > 0; --s) size.sides.push_back(2 + dice.below(20));
  for (int h = 1 + dice.below(4); h > 0; --h) size.outputs.push_back(1 + dice.below(4));
  Case<Real> made(dice, size, healthy ? 0 : 0.01);
  const int unused = dice.below(4);
  made.run(table, unused);
  bool intact = true, finite = true, written = true;
  made.every([&](Guarded<Real>& each) {
    intact &= each.intact();
    if (healthy && !unused) finite &= each.finite(0, each.size());
  });
  if (!unused)
    for (auto& each : made.out) written &= each.written();
  report.expect(intact, "a hexplane wrote outside of an array");
  report.expect(finite, "a hexplane of finite numbers gave others");
  report.expect(written, "a hexplane left something unwritten");
}

}  // namespace hexplanes

// Failures of one table's field over space and time.
inline int check_hexplane(const Table& table) {
  const int before = threads();
  const bool wide = std::string(table.name) == "f64";
  const int failures = wide ? hexplanes::check<double>(table) : hexplanes::check<float>(table);
  set_threads(before);
  return failures;
}

}  // namespace splat
