// SSIM's window along one axis.
#pragma once

#include "simd.h"
#include "splat/losses.h"

namespace splat::SPLAT_ISA {

constexpr int kRing = 2 * kRadius + 2;  // places that the windows of two neighbours span

struct Pair {
  F a, b;
};

struct Window {
  F weight[kRadius + 1];

  // Sums at two neighbouring places from the kRing values around them. Each is read once: a value's
  // partner for the one place is followed by its partner for the other.
  template <class At>
  Pair sums(At&& at) const {
    F left = at(0), right = at(10);
    F a = weight[5] * (left + right);
    left = at(2);
    F b = weight[4] * (left + right);
    right = at(8);
    a = fma(weight[3], left + right, a);
    left = at(4);
    b = fma(weight[2], left + right, b);
    right = at(6);
    a = fma(weight[1], left + right, a);
    b = fma(weight[0], right, b);
    left = at(1), right = at(11);
    b = fma(weight[5], left + right, b);
    right = at(9);
    a = fma(weight[4], left + right, a);
    left = at(3);
    b = fma(weight[3], left + right, b);
    right = at(7);
    a = fma(weight[2], left + right, a);
    left = at(5);
    b = fma(weight[1], left + right, b);
    return {fma(weight[0], left, a), b};
  }
};

}  // namespace splat::SPLAT_ISA
