// EWA projection of 3D Gaussians (Zwicker et al. 2001, as in 3DGS) and its exact gradient.
//
// Written once for float, double, SIMD vectors and nvcc: T is the number, S its scalar. No branch
// depends on a T; `sel(mask, a, b)`, `mn` and `mx` take their place. Only 2x3 matrices appear:
// with J the 2x3 Jacobian, R the camera's rotation, Q the Gaussian's and s its scales,
// V = J R Q diag(s) and the projected covariance is V V^T.
#pragma once

#include "constants.h"

#if defined(__CUDACC__)
#define SPLAT_HD __host__ __device__ __forceinline__
#elif defined(_MSC_VER)
#define SPLAT_HD static __forceinline
#else
#define SPLAT_HD static inline __attribute__((always_inline))
#endif

namespace splat::SPLAT_ISA {

template <class S>
struct Pinhole {
  S R[9], t[3];          // world to camera
  S centre[3];           // of the camera, in the world
  S fx, fy, cx, cy;      // pixels
  S left, right, up, down;  // limits of |x/z| and |y/z| in the Jacobian

  template <class View>
  void set(const View& view) {
    const double* m = view.world_to_camera;
    for (int i = 0; i < 3; ++i) {
      for (int j = 0; j < 3; ++j) R[3 * i + j] = S(m[4 * i + j]);
      t[i] = S(m[4 * i + 3]);
      centre[i] = S(-(m[i] * m[3] + m[4 + i] * m[7] + m[8 + i] * m[11]));
    }
    fx = S(view.fx), fy = S(view.fy), cx = S(view.cx), cy = S(view.cy);
    const double border_x = kBorder * 0.5 * view.width / view.fx;
    const double border_y = kBorder * 0.5 * view.height / view.fy;
    left = S(view.cx / view.fx + border_x);
    right = S((view.width - view.cx) / view.fx + border_x);
    up = S(view.cy / view.fy + border_y);
    down = S((view.height - view.cy) / view.fy + border_y);
  }
};

template <class T>
struct Projected {
  T x, y, z;              // mean in the camera's frame
  T tx, ty;               // x/z and y/z, clamped
  T u, v;                 // mean on screen, pixels
  T Tm[6];                // J R
  T Q[9];                 // rotation of the Gaussian
  T q[4], norm;           // unit quaternion, inverse length of the given one
  T U[6], V[6];           // Tm Q, and its columns times the scales
  T a, b, c;              // covariance after the low-pass filter
  T det0, det1;           // determinants before and after it
  T n[3];                 // N, see below
};

// The inverse covariance is kappa N^T N with N = [n0 n1; 0 n2] and kappa = 2 ln 2, so that
// log2(alpha) falls by |N d|^2 at offset d. Sums of squares and moments of N d stay accurate where
// the inverse covariance itself cancels away: in needles many pixels long and less than one wide.
constexpr double kKappa = 1.3862943611198906;

template <class T, class S>
SPLAT_HD void project(const Pinhole<S>& cam, const T* mean, const T* quat, const T* scale, S eps2d,
                      Projected<T>& p) {
  p.x = fma(mean[0], T(set1(cam.R[0])), fma(mean[1], set1(cam.R[1]), fma(mean[2], set1(cam.R[2]), set1(cam.t[0]))));
  p.y = fma(mean[0], T(set1(cam.R[3])), fma(mean[1], set1(cam.R[4]), fma(mean[2], set1(cam.R[5]), set1(cam.t[1]))));
  p.z = fma(mean[0], T(set1(cam.R[6])), fma(mean[1], set1(cam.R[7]), fma(mean[2], set1(cam.R[8]), set1(cam.t[2]))));
  const T rz = set1(1) / p.z, xz = p.x / p.z, yz = p.y / p.z;
  p.u = fma(xz, set1(cam.fx), set1(cam.cx));
  p.v = fma(yz, set1(cam.fy), set1(cam.cy));
  p.tx = mn(mx(xz, set1(-cam.left)), set1(cam.right));
  p.ty = mn(mx(yz, set1(-cam.up)), set1(cam.down));
  const T j00 = cam.fx * rz, j11 = cam.fy * rz, j02 = -(j00 * p.tx), j12 = -(j11 * p.ty);
  for (int k = 0; k < 3; ++k) {
    p.Tm[k] = fma(j02, set1(cam.R[6 + k]), j00 * cam.R[k]);
    p.Tm[3 + k] = fma(j12, set1(cam.R[6 + k]), j11 * cam.R[3 + k]);
  }
  p.norm = set1(1) / sqrt(quat[0] * quat[0] + quat[1] * quat[1] + quat[2] * quat[2] + quat[3] * quat[3]);
  for (int k = 0; k < 4; ++k) p.q[k] = quat[k] * p.norm;
  const T w = p.q[0], x = p.q[1], y = p.q[2], z = p.q[3], one = set1(1), two = set1(2);
  p.Q[0] = fnma(two, y * y + z * z, one);
  p.Q[1] = two * (x * y - w * z);
  p.Q[2] = two * (x * z + w * y);
  p.Q[3] = two * (x * y + w * z);
  p.Q[4] = fnma(two, x * x + z * z, one);
  p.Q[5] = two * (y * z - w * x);
  p.Q[6] = two * (x * z - w * y);
  p.Q[7] = two * (y * z + w * x);
  p.Q[8] = fnma(two, x * x + y * y, one);
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 3; ++j) {
      const T* m = p.Tm + 3 * i;
      p.U[3 * i + j] = fma(m[0], p.Q[j], fma(m[1], p.Q[3 + j], m[2] * p.Q[6 + j]));
      p.V[3 * i + j] = p.U[3 * i + j] * scale[j];
    }
  const T *V0 = p.V, *V1 = p.V + 3;
  const T a0 = fma(V0[0], V0[0], fma(V0[1], V0[1], V0[2] * V0[2]));
  const T c0 = fma(V1[0], V1[0], fma(V1[1], V1[1], V1[2] * V1[2]));
  p.b = fma(V0[0], V1[0], fma(V0[1], V1[1], V0[2] * V1[2]));
  p.a = a0 + set1(eps2d);
  p.c = c0 + set1(eps2d);
  // Lagrange's identity: a0 c0 - b^2 without cancellation.
  const T n0 = V0[1] * V1[2] - V0[2] * V1[1], n1 = V0[2] * V1[0] - V0[0] * V1[2],
          n2 = V0[0] * V1[1] - V0[1] * V1[0];
  p.det0 = fma(n0, n0, fma(n1, n1, n2 * n2));
  p.det1 = fma(set1(eps2d), a0 + c0, p.det0 + set1(eps2d * eps2d));
  const S root = S(0.84932180028801904);  // sqrt(1 / kappa)
  const T inverse_c = set1(1) / p.c, slope = p.b * inverse_c;
  p.n[0] = root * sqrt(p.c / p.det1);
  p.n[1] = -(slope * p.n[0]);
  p.n[2] = root * sqrt(inverse_c);
}

// Gradients of the loss with respect to the projection's inputs, from those with respect to its
// outputs: screen position (gu, gv), camera depth gz, and the shape, as the moments s = sum over
// pixels of d loss / d ln(alpha) times (x^2, x y, y^2) with (x, y) = N d; m0 is their zeroth one
// where opacity is compensated for the low-pass filter, and zero where it is not.
// v_view accumulates rows of d loss / d [R | t] per lane.
template <class T, class S>
SPLAT_HD void project_backward(const Pinhole<S>& cam, const Projected<T>& p, const T* mean,
                               const T* scale, T gu, T gv, T gz, const T* s, bool antialiased,
                               T m0, T* v_mean,
                               T* v_quat, T* v_scale, T* v_view) {
  const T *V0 = p.V, *V1 = p.V + 3;
  T dU[6];
  for (int j = 0; j < 3; ++j) {
    // d loss / d covariance is (kappa^2 / 2) N^T s N. With w = N U_j the gradient of a scale is a
    // quadratic form of w, in which nothing cancels.
    const T u0 = p.U[j], u1 = p.U[3 + j];
    const T w0 = fma(p.n[0], u0, p.n[1] * u1), w1 = p.n[2] * u1, square = set1(S(kKappa * kKappa));
    const T t0 = square * fma(s[0], w0, s[1] * w1), t1 = square * fma(s[1], w0, s[2] * w1);
    T of_scale = fma(w0, t0, w1 * t1), d0 = p.n[0] * t0, d1 = fma(p.n[1], t0, p.n[2] * t1);
    if (antialiased) {
      // d ln(rho) / d covariance = (inverse before - inverse after the filter) / 2.
      const int k = (j + 1) % 3, l = (j + 2) % 3;
      const T r0 = set1(1) / p.det0, kappa = set1(S(kKappa));
      const T ek = V1[k] * u0 - V0[k] * u1, el = V1[l] * u0 - V0[l] * u1;
      of_scale += m0 * (r0 * fma(ek, ek, el * el) - kappa * fma(w0, w0, w1 * w1));
      d0 += m0 * (r0 * fma(ek, V1[k], el * V1[l]) - kappa * p.n[0] * w0);
      d1 -= m0 * (r0 * fma(ek, V0[k], el * V0[l]) + kappa * fma(p.n[1], w0, p.n[2] * w1));
    }
    v_scale[j] = of_scale * scale[j];
    dU[j] = d0 * (scale[j] * scale[j]);
    dU[3 + j] = d1 * (scale[j] * scale[j]);
  }
  T G[9], dT[6];
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) G[3 * i + j] = fma(p.Tm[i], dU[j], p.Tm[3 + i] * dU[3 + j]);
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 3; ++j)
      dT[3 * i + j] = fma(dU[3 * i], p.Q[3 * j], fma(dU[3 * i + 1], p.Q[3 * j + 1], dU[3 * i + 2] * p.Q[3 * j + 2]));
  const T w = p.q[0], x = p.q[1], y = p.q[2], z = p.q[3], two = set1(2);
  T g[4];
  g[0] = two * (x * (G[7] - G[5]) + y * (G[2] - G[6]) + z * (G[3] - G[1]));
  g[1] = two * (y * (G[1] + G[3]) + z * (G[2] + G[6]) + w * (G[7] - G[5]) - two * x * (G[4] + G[8]));
  g[2] = two * (x * (G[1] + G[3]) + z * (G[5] + G[7]) + w * (G[2] - G[6]) - two * y * (G[0] + G[8]));
  g[3] = two * (x * (G[2] + G[6]) + y * (G[5] + G[7]) + w * (G[3] - G[1]) - two * z * (G[0] + G[4]));
  const T along = fma(w, g[0], fma(x, g[1], fma(y, g[2], z * g[3])));
  for (int k = 0; k < 4; ++k) v_quat[k] = fnma(p.q[k], along, g[k]) * p.norm;

  T d00 = set1(0), d02 = d00, d11 = d00, d12 = d00;
  for (int k = 0; k < 3; ++k) {
    d00 = fma(dT[k], set1(cam.R[k]), d00);
    d02 = fma(dT[k], set1(cam.R[6 + k]), d02);
    d11 = fma(dT[3 + k], set1(cam.R[3 + k]), d11);
    d12 = fma(dT[3 + k], set1(cam.R[6 + k]), d12);
  }
  const T rz = set1(1) / p.z, fxz = cam.fx * rz, fyz = cam.fy * rz, xz = p.x * rz, yz = p.y * rz;
  const auto free_x = (xz >= set1(-cam.left)) & (xz <= set1(cam.right));
  const auto free_y = (yz >= set1(-cam.up)) & (yz <= set1(cam.down));
  const T one = set1(1), bound_x = sel(free_x, one, set1(0)), bound_y = sel(free_y, one, set1(0));
  const T gx = fxz * (gu - d02 * bound_x * rz), gy = fyz * (gv - d12 * bound_y * rz);
  T g_z = gz - fxz * xz * gu - fyz * yz * gv;
  g_z -= fxz * rz * (d00 - d02 * p.tx * (one + bound_x));
  g_z -= fyz * rz * (d11 - d12 * p.ty * (one + bound_y));
  for (int k = 0; k < 3; ++k)
    v_mean[k] = fma(gx, set1(cam.R[k]), fma(gy, set1(cam.R[3 + k]), g_z * cam.R[6 + k]));
  const T row[3] = {gx, gy, g_z}, j00 = fxz, j11 = fyz, j02 = -(fxz * p.tx), j12 = -(fyz * p.ty);
  for (int k = 0; k < 3; ++k) {
    // The camera enters through the mean's position and through J R.
    v_view[k] += fma(row[0], mean[k], j00 * dT[k]);
    v_view[4 + k] += fma(row[1], mean[k], j11 * dT[3 + k]);
    v_view[8 + k] += fma(row[2], mean[k], fma(j02, dT[k], j12 * dT[3 + k]));
    v_view[4 * k + 3] += row[k];
  }
}

}  // namespace splat::SPLAT_ISA
