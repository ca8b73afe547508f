// Test driver of the CPU kernels without Python: every instruction set against the double build,
// every thread count against one thread, broken input against crashes. Made for sanitizers,
// valgrind, and processors that only an emulator has.
//
//     splat_driver [--fuzz SEED COUNT] [ISA ...]     exits with 1 and says what differs
//
// With --fuzz it draws that many random, broken scenes and does nothing else; without, a few.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "driver_decode.h"
#include "driver_field.h"
#include "driver_hexplane.h"
#include "driver_fuzz.h"
#include "driver_losses.h"
#include "driver_pool.h"
#include "kernels.h"
#include "pool.h"

using namespace splat;

namespace {

struct Random {
  uint64_t state = 0x9E3779B97F4A7C15ull;
  double uniform() {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return double(state >> 11) * 0x1p-53;
  }
  double normal() { return std::sqrt(-2 * std::log(1 - uniform())) * std::cos(6.283185307179586 * uniform()); }
};

enum Array { kMeans, kQuats, kScales, kOpacities, kColors, kFeatures, kArrays };
constexpr int kColumns[kArrays] = {3, 4, 3, 1, 48, 2}, kMaps = 3;

struct Input {
  int n, width, height;
  bool antialiased;
  std::vector<double> arrays[kArrays];  // values that a float holds exactly
};

Input random_input(int n, int width, int height, bool antialiased) {
  Random r;
  Input in{n, width, height, antialiased, {}};
  for (int i = 0; i < n; ++i) {
    for (int k = 0; k < 3; ++k) in.arrays[kMeans].push_back(3 * r.uniform() - 1.5);
    for (int k = 0; k < 4; ++k) in.arrays[kQuats].push_back(r.normal());
    for (int k = 0; k < 3; ++k) in.arrays[kScales].push_back(std::exp(0.6 * r.normal() - 2.5));
    in.arrays[kOpacities].push_back(1 / (1 + std::exp(-2 * r.normal())));
    for (int k = 0; k < 48; ++k) in.arrays[kColors].push_back((k < 3 ? 0.5 : 0.1) * r.normal());
    for (int k = 0; k < 2; ++k) in.arrays[kFeatures].push_back(r.normal());
  }
  for (auto& array : in.arrays)
    for (double& value : array) value = double(float(value));
  return in;
}

constexpr const char* kNames[] = {
    "image", "alpha", "extra", "means", "quats", "scales", "opacities", "colors", "features", "means2d", "absgrad", "pose",
    "weighted sums", "mass", "hits", "transmitted", "squared", "most", "surveyed sums", "area"};
constexpr int kResults = int(sizeof kNames / sizeof *kNames), kSums = 12, kScores = 13, kArea = 19;

template <class Real>
struct Result {
  std::vector<Real> values[kResults];  // see kNames; those from `means` to `pose` are gradients
};

// The upper half of a float, which is a bfloat16.
uint16_t upper(double value) {
  const float whole = float(value);
  uint32_t word;
  std::memcpy(&word, &whole, 4);
  return uint16_t(word >> 16);
}

// The input with harmonics that a bfloat16 holds exactly.
Input with_short_colors(Input in) {
  for (double& value : in.arrays[kColors]) {
    const uint32_t word = uint32_t(upper(value)) << 16;
    float kept;
    std::memcpy(&kept, &word, 4);
    value = double(kept);
  }
  return in;
}

// With maps, backward gives their sums; without, there are none. The survey has them always. With
// `half` harmonics are handed over as bfloat16.
template <class Real>
Result<Real> run(const Table& table, const Input& in, int maps = kMaps, bool half = false) {
  std::vector<Real> arrays[kArrays];
  for (int a = 0; a < kArrays; ++a) arrays[a].assign(in.arrays[a].begin(), in.arrays[a].end());
  const std::size_t pixels = std::size_t(in.width) * in.height, n = std::size_t(in.n);
  Result<Real> out;
  auto* v = out.values;
  v[0].resize(3 * pixels), v[1].resize(pixels), v[2].resize(3 * pixels);
  for (int a = 0; a < kArrays; ++a) v[3 + a].resize(n * kColumns[a]);
  v[9].resize(2 * n), v[10].resize(2 * n), v[11].resize(12);
  std::vector<Real> radii(n), background{Real(0.2), Real(0.5), Real(0.9)}, v_background(3);
  Forward f{};
  f.scene = {.means = arrays[kMeans].data(),
             .quats = arrays[kQuats].data(),
             .scales = arrays[kScales].data(),
             .opacities = arrays[kOpacities].data(),
             .colors = arrays[kColors].data(),
             .features = arrays[kFeatures].data(),
             .n = in.n,
             .sh_degree = 3,
             .coefficients = 16,
             .feature_count = 2,
             .half_colors = half};
  std::vector<uint16_t> halves;
  for (double value : in.arrays[kColors]) halves.push_back(upper(value));
  if (half) f.scene.colors = halves.data();
  const double view[12] = {0.96, 0.05, 0.27, 0.1, -0.04, 0.998, -0.05, -0.2, -0.27, 0.04, 0.96, 3.2};
  std::memcpy(f.view.world_to_camera, view, sizeof view);
  f.view.fx = f.view.fy = 1.1 * in.width;
  f.view.cx = 0.48 * in.width, f.view.cy = 0.53 * in.height;
  f.view.width = in.width, f.view.height = in.height;
  f.settings = {.antialiased = in.antialiased,
                .absolute = true,
                .depth = true,
                .beside = true,
                .eps2d = 0.3,
                .near = 0.01,
                .far = 1e10,
                .radius_clip = 0};
  f.background = background.data();
  f.image = v[0].data(), f.alpha = v[1].data(), f.extra = v[2].data(), f.radii = radii.data();
  void* frame = table.frame_new();
  table.forward(frame, f);
  std::vector<Real> weights[3];
  Random r;
  for (int k = 0; k < 3; ++k)
    for (std::size_t i = 0; i < v[k].size(); ++i) weights[k].push_back(Real(float(r.uniform())));
  Backward b{};
  b.scene = f.scene;
  b.image = f.image, b.alpha = f.alpha, b.extra = f.extra;
  b.v_image = weights[0].data(), b.v_alpha = weights[1].data(), b.v_extra = weights[2].data();
  void** gradients[] = {&b.v_means, &b.v_quats, &b.v_scales, &b.v_opacities, &b.v_colors,
                        &b.v_features, &b.v_means2d, &b.v_means2d_absolute, &b.v_view};
  for (int k = 0; k < 9; ++k) *gradients[k] = v[3 + k].data();
  b.v_background = v_background.data();
  std::vector<Real> map;
  for (std::size_t i = 0; i < kMaps * pixels; ++i) map.push_back(Real(float(r.normal())));
  v[kSums].resize(maps * n);
  b.maps = map.data(), b.map_count = maps, b.sums = v[kSums].data();
  table.backward(frame, b);
  std::vector<Real> scores((5 + kMaps) * n);
  std::vector<int32_t> strongest(pixels);
  table.survey(frame, {.image = f.image,
                       .maps = map.data(),
                       .map_count = kMaps,
                       .scores = scores.data(),
                       .strongest = strongest.data()});
  table.frame_delete(frame);
  for (int k = 0; k < 6; ++k)
    v[kScores + k].assign(scores.begin() + k * n, k < 5 ? scores.begin() + (k + 1) * n : scores.end());
  v[kArea].resize(n);
  for (const int32_t row : strongest)
    if (row >= 0) v[kArea].at(row) += 1;
  return out;
}

constexpr int kFuzzed = 60;  // cases of a plain run

int failures = 0;

void expect(bool good, const std::string& what) {
  if (good) return;
  std::printf("FAILED: %s\n", what.c_str());
  ++failures;
}

// Nearly all entries agree: a pixel at a threshold may fall on either side of it in float.
void compare(const Table& table, const Input& in, const std::string& what) {
  const auto truth = run<double>(*::splat::table("f64"), in);
  const auto mine = run<float>(table, in);
  for (int k = 0; k < kResults; ++k) {
    double largest = 1e-30;
    std::size_t off = 0;
    for (double value : truth.values[k]) largest = std::fmax(largest, std::fabs(value));
    for (std::size_t i = 0; i < mine.values[k].size(); ++i)
      if (!(std::fabs(mine.values[k][i] - truth.values[k][i]) <= 2e-5 * largest)) ++off;
    expect(off <= mine.values[k].size() / 100, std::string(table.name) + ", " + what + ": " + kNames[k] +
                                                   " differs in " + std::to_string(off) + " entries");
  }
}

template <class Real>
void expect_same(const Table& table, const Result<Real>& a, const Result<Real>& b, const std::string& why) {
  for (int k = 0; k < kResults; ++k)
    expect(k == kSums || a.values[k] == b.values[k], std::string(table.name) + ": " + kNames[k] + " depends on " + why);
}

// The weighted sums are those of the survey, and asking for them changes no gradient.
template <class Real>
void check_maps(const Table& table, const Input& in) {
  const auto all = run<Real>(table, in);
  const std::size_t n = std::size_t(in.n);
  for (int maps = 0; maps < kMaps; ++maps) expect_same(table, all, run<Real>(table, in, maps), "maps");
  double largest = 0, off = 0;
  for (std::size_t i = 0; i < n; ++i)
    for (int k = 0; k < kMaps; ++k) {
      const double sum = all.values[kSums][i * kMaps + k], other = all.values[kScores + 5][k * n + i];
      largest = std::fmax(largest, std::fabs(other)), off = std::fmax(off, std::fabs(sum - other));
    }
  expect(largest > 1 && off <= 1e-5 * largest, std::string(table.name) + ": sums of backward and survey differ");
}

// Numbers that a bfloat16 holds are drawn alike however they are handed over.
template <class Real>
void check_half_colors(const Table& table, const Input& any) {
  const Input in = with_short_colors(any);
  expect_same(table, run<Real>(table, in), run<Real>(table, in, kMaps, true), "the type of harmonics");
}

template <class Real>
void check_threads(const Table& table, const Input& in) {
  set_threads(1);
  const auto alone = run<Real>(table, in);
  for (int count : {2, 3, 5}) {
    set_threads(count);
    expect_same(table, alone, run<Real>(table, in), "threads");
  }
  // Callers from several threads, one of which changes the number of threads now and then.
  Result<Real> results[3];
  std::vector<std::thread> callers;
  for (auto& result : results)
    callers.emplace_back([&] {
      for (int i = 0; i < 4; ++i) {
        if (&result == results) set_threads(1 + i);
        result = run<Real>(table, in);
      }
    });
  for (auto& caller : callers) caller.join();
  for (const auto& result : results) expect_same(table, alone, result, "other callers");
  set_threads(2);
}

template <class Real>
void check_broken(const Table& table) {
  Input in = random_input(600, 75, 50, true);
  Random r;
  const double bad[] = {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(),
                        -std::numeric_limits<double>::infinity(), 0.0, 1e30, -1e30, 1e-40};
  for (int i = 0; i < in.n; i += 3) {
    const int a = int(r.uniform() * 4), k = int(r.uniform() * kColumns[a]);
    in.arrays[a][std::size_t(i) * kColumns[a] + k] = bad[int(r.uniform() * 7)];
  }
  for (int i = 0; i < in.n; i += 60)
    for (int k = 0; k < 4; ++k) in.arrays[kQuats][4 * i + k] = 0;
  const auto out = run<Real>(table, in);
  for (int k = 0; k < 3; ++k)
    for (Real value : out.values[k])
      expect(std::isfinite(value), std::string(table.name) + ": broken rows reach " + kNames[k]);
}

template <class Real>
void check(const Table& table) {
  if (sizeof(Real) == sizeof(float)) {
    compare(table, random_input(500, 61, 45, false), "61x45");
    compare(table, random_input(500, 230, 52, true), "230x52 antialiased");
    compare(table, random_input(40, 5, 3, false), "5x3");
  }
  check_maps<Real>(table, random_input(500, 61, 45, true));
  for (const int n : {500, 37, 1}) check_half_colors<Real>(table, random_input(n, 61, 45, true));
  check_threads<Real>(table, random_input(900, 131, 97, true));
  check_broken<Real>(table);
  failures += check_losses(table);
  failures += check_decoding(table);
  failures += check_field(table);
  failures += check_hexplane(table);
  failures += fuzz_table(table, 0, kFuzzed);
}

void check_or_fuzz(const Table& table, unsigned long long seed, int count) {
  const int before = failures;
  if (count)
    failures += fuzz_table(table, seed, count);
  else if (std::strcmp(table.name, "f64") == 0)
    check<double>(table);
  else
    check<float>(table);
  std::printf("%s: %s\n", table.name, failures == before ? "ok" : "FAILED");
  std::fflush(stdout);
}

}  // namespace

int main(int count, char** arguments) {
  unsigned long long seed = 0;
  int fuzzed = 0, first = 1;
  if (count > 3 && std::strcmp(arguments[1], "--fuzz") == 0) {
    seed = std::strtoull(arguments[2], nullptr, 10);
    fuzzed = std::atoi(arguments[3]);
    first = 4;
  }
  set_threads(2);
  failures += check_pool();
  int found = 0;
  for (const char* isa : {"avx512", "avx2", "neon", "base", "f64"}) {
    bool wanted = count == first;
    for (int i = first; i < count; ++i) wanted |= std::strcmp(arguments[i], isa) == 0;
    const Table* table = ::splat::table(isa);
    if (!wanted || !table) continue;
    ++found;
    check_or_fuzz(*table, seed, fuzzed);
  }
  if (!found) std::printf("FAILED: no such instruction set here\n");
  return failures || !found;
}
