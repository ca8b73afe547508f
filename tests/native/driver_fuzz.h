// Random and broken input for the test driver: pieces that every fuzzed kernel needs.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "kernels.h"

namespace splat {
namespace fuzz {

class Dice {
 public:
  explicit Dice(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15ull + 1) {}

  uint64_t next() {  // splitmix64 (Steele, Lea and Flood 2014)
    uint64_t z = state_ += 0x9E3779B97F4A7C15ull;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ z >> 27) * 0x94D049BB133111EBull;
    return z ^ z >> 31;
  }
  double uniform() { return double(next() >> 11) * 0x1p-53; }
  double between(double low, double high) { return low + (high - low) * uniform(); }
  int below(int count) { return int(next() % uint64_t(count)); }
  bool chance(double p) { return uniform() < p; }
  int size(int most) { return int(std::exp(uniform() * std::log(most + 1.0))); }  // small ones are as likely
  double normal() { return std::sqrt(-2 * std::log(1 - uniform())) * std::cos(6.283185307179586 * uniform()); }

  double broken() {  // what a diverged run, a wrong unit or a bad file may hold
    constexpr double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
    const double values[] = {nan,  inf,  -inf,  0,     -0.0, 1e-40, -1e-40, 1e-30, 1e30, -1e30, 3e38,
                             -3e38, 1e19, -1e19, 1e10, 1e-10, 1,    -1,     2,     0.5,  65536, 1e5};
    return values[below(int(sizeof values / sizeof *values))];
  }

 private:
  uint64_t state_;
};

#if defined(__SANITIZE_ADDRESS__)
constexpr std::size_t kGuard = 0;  // it sees reads beyond the end as well, if nothing lies there
#else
constexpr std::size_t kGuard = 37;
#endif
constexpr unsigned char kCanary = 0xA5;  // no kernel computes a number of these bytes

// An array whose surroundings are watched. What no kernel has written shows, too.
template <class Real>
class Guarded {
 public:
  explicit Guarded(std::size_t count = 0) : all_(count + 2 * kGuard) {
    if (!all_.empty()) std::memset(static_cast<void*>(all_.data()), kCanary, all_.size() * sizeof(Real));
  }
  Real* data() { return all_.data() + kGuard; }
  Real& operator[](std::size_t i) { return all_[kGuard + i]; }
  std::size_t size() const { return all_.size() - 2 * kGuard; }

  bool intact() const {
    for (std::size_t i = 0; i < kGuard; ++i)
      if (!untouched(all_[i]) || !untouched(all_[all_.size() - 1 - i])) return false;
    return true;
  }
  bool written() const {
    for (std::size_t i = kGuard; i < all_.size() - kGuard; ++i)
      if (untouched(all_[i])) return false;
    return true;
  }
  bool finite(std::size_t first, std::size_t count) const {
    for (std::size_t i = first; i < first + count; ++i)
      if (!std::isfinite(all_[kGuard + i])) return false;
    return true;
  }
  bool zero(std::size_t first, std::size_t count) const {
    for (std::size_t i = first; i < first + count; ++i)
      if (!(all_[kGuard + i] == 0)) return false;
    return true;
  }

 private:
  static bool untouched(const Real& value) {
    unsigned char bytes[sizeof(Real)];
    std::memset(bytes, kCanary, sizeof bytes);
    return std::memcmp(&value, bytes, sizeof bytes) == 0;
  }

  std::vector<Real> all_;
};

// What a case found wrong; the seed repeats it.
class Report {
 public:
  Report(const Table& table, uint64_t seed) : table_(table.name), seed_(seed) {}
  void expect(bool good, const std::string& what) {
    if (good) return;
    std::printf("FAILED: %s: %s (--fuzz %llu 1 %s)\n", table_, what.c_str(), (unsigned long long)seed_, table_);
    ++failures;
  }
  int failures = 0;

 private:
  const char* table_;
  uint64_t seed_;
};

// Normal numbers, of which a share is broken.
template <class Real>
Guarded<Real> random_numbers(Dice& dice, std::size_t count, double broken) {
  Guarded<Real> result(count);
  for (std::size_t i = 0; i < count; ++i) result[i] = Real(dice.chance(broken) ? dice.broken() : dice.normal());
  return result;
}

}  // namespace fuzz

int fuzz_table(const Table& table, uint64_t seed, int count);  // failures of the cases seed, seed + 1, ...

}  // namespace splat
