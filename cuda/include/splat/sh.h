// Real spherical harmonics up to degree 3, with the signs of the 3DGS code, and their gradient.
#pragma once

#include "projection.h"

namespace splat::SPLAT_ISA {

constexpr double kSh0 = 0.28209479177387814;
constexpr double kSh1 = 0.48860251190291987;
// No arrays: device code may not index one that lies in memory of the host.
constexpr double kSh2_0 = 1.0925484305920792, kSh2_1 = 0.94617469575755997, kSh2_2 = 0.31539156525251999,
                 kSh2_3 = 0.54627421529603959;
constexpr double kSh3_0 = 0.59004358992664352, kSh3_1 = 2.8906114426405538, kSh3_2 = 0.45704579946446572,
                 kSh3_3 = 0.3731763325901154, kSh3_4 = 1.4453057213202769;

// basis[k] of the unit direction (x, y, z), k < (degree + 1)^2.
template <class T, class S>
SPLAT_HD void sh_basis(int degree, T x, T y, T z, T* basis, S) {
  basis[0] = set1(S(kSh0));
  if (degree < 1) return;
  basis[1] = S(-kSh1) * y;
  basis[2] = S(kSh1) * z;
  basis[3] = S(-kSh1) * x;
  if (degree < 2) return;
  const T xx = x * x, yy = y * y, zz = z * z, xy = x * y;
  basis[4] = S(kSh2_0) * xy;
  basis[5] = S(-kSh2_0) * (y * z);
  basis[6] = fma(zz, set1(S(kSh2_1)), set1(S(-kSh2_2)));
  basis[7] = S(-kSh2_0) * (x * z);
  basis[8] = S(kSh2_3) * (xx - yy);
  if (degree < 3) return;
  const T five = fma(set1(S(5)), zz, set1(S(-1)));
  basis[9] = S(-kSh3_0) * y * (S(3) * xx - yy);
  basis[10] = S(kSh3_1) * xy * z;
  basis[11] = S(-kSh3_2) * y * five;
  basis[12] = S(kSh3_3) * z * (five - set1(S(2)));
  basis[13] = S(-kSh3_2) * x * five;
  basis[14] = S(kSh3_4) * z * (xx - yy);
  basis[15] = S(-kSh3_0) * x * (xx - S(3) * yy);
}

// Adds sum_k e[k] * d basis[k] / d (x, y, z) to (gx, gy, gz).
template <class T, class S>
SPLAT_HD void sh_gradient(int degree, T x, T y, T z, const T* e, T& gx, T& gy, T& gz, S) {
  if (degree < 1) return;
  gx += S(-kSh1) * e[3];
  gy += S(-kSh1) * e[1];
  gz += S(kSh1) * e[2];
  if (degree < 2) return;
  const T xx = x * x, yy = y * y, zz = z * z;
  gx += S(kSh2_0) * (y * e[4] - z * e[7]) + S(2 * kSh2_3) * x * e[8];
  gy += S(kSh2_0) * (x * e[4] - z * e[5]) - S(2 * kSh2_3) * y * e[8];
  gz += S(2 * kSh2_1) * z * e[6] - S(kSh2_0) * (y * e[5] + x * e[7]);
  if (degree < 3) return;
  const T five = fma(set1(S(5)), zz, set1(S(-1)));
  gx += S(-6 * kSh3_0) * x * y * e[9] + S(kSh3_1) * y * z * e[10] - S(kSh3_2) * five * e[13] +
        S(2 * kSh3_4) * x * z * e[14] + S(-3 * kSh3_0) * (xx - yy) * e[15];
  gy += S(-3 * kSh3_0) * (xx - yy) * e[9] + S(kSh3_1) * x * z * e[10] - S(kSh3_2) * five * e[11] -
        S(2 * kSh3_4) * y * z * e[14] + S(6 * kSh3_0) * x * y * e[15];
  gz += S(kSh3_1) * x * y * e[10] - S(10 * kSh3_2) * z * (y * e[11] + x * e[13]) +
        S(3 * kSh3_3) * five * e[12] + S(kSh3_4) * (xx - yy) * e[14];
}

}  // namespace splat::SPLAT_ISA
