// Which of the instruction sets that CMakeLists.txt builds this processor and this system can run.
#pragma once

#if defined(SPLAT_X86)
#include <cpuid.h>

#include <cstdint>
#include <initializer_list>

namespace splat {

struct Features {
  bool avx2 = false, avx512 = false;
};

// Every feature that CMakeLists.txt lets the compiler use is asked for: a virtual machine may hide any
// of them. `__builtin_cpu_supports` would do with GCC's and LLVM's run-time libraries, but Zig's, which
// the wheels are linked with, says no to everything. Bits: Intel's manual, volume 2A, CPUID; volume 1,
// 13.2 and 14.3 (what the system must save). macOS saves the registers of AVX-512 from their first use
// on and does not say so before: there AVX2 is taken.
inline Features features() {
  const auto all = [](uint32_t word, std::initializer_list<int> bits) {
    for (int bit : bits)
      if (!(word >> bit & 1u)) return false;
    return true;
  };
  uint32_t a = 0, b = 0, c = 0, d = 0;
  constexpr int fma = 12, popcnt = 23, osxsave = 27, avx = 28;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !all(c, {fma, popcnt, osxsave, avx})) return {};
  uint32_t saved = 0, upper = 0;
  __asm__ volatile("xgetbv" : "=a"(saved), "=d"(upper) : "c"(0));
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return {};
  constexpr int bmi1 = 3, avx2 = 5, bmi2 = 8, avx512f = 16, avx512dq = 17, avx512bw = 30, avx512vl = 31;
  Features found;
  found.avx2 = all(saved, {1, 2}) && all(b, {bmi1, avx2, bmi2});
  found.avx512 = found.avx2 && all(saved, {5, 6, 7}) && all(b, {avx512f, avx512dq, avx512bw, avx512vl});
  return found;
}

}  // namespace splat
#endif
