// SSIM (Wang et al. 2004) and Adam (Kingma and Ba 2015) at one point, for floats, vectors and nvcc.
//
// T is the number, S its scalar.
#pragma once

#if !defined(SPLAT_HD)
#if defined(__CUDACC__)
#define SPLAT_HD __host__ __device__ __forceinline__
#elif defined(_MSC_VER)
#define SPLAT_HD static __forceinline
#else
#define SPLAT_HD static inline __attribute__((always_inline))
#endif
#endif

namespace splat::SPLAT_ISA {

constexpr int kRadius = 5;  // of SSIM's Gaussian window: 11 x 11, standard deviation 1.5 pixels

// The window along one axis, `distance` pixels from its centre; the eleven values sum to 1.
SPLAT_HD constexpr double window_weight(int distance) {
  return distance == 0   ? 0.2660117248617943
         : distance == 1 ? 0.21300553771125366
         : distance == 2 ? 0.1093606895097
         : distance == 3 ? 0.03600077212843082
         : distance == 4 ? 0.007598758135239184
                         : 0.0010283800844791099;
}

// SSIM at one point, and what its derivative by the image x is made of: at any pixel that is
// 2 (by_mean - x by_square + y by_cross), each of the three averaged over the window.
template <class T>
struct Similarity {
  T value, by_mean, by_square, by_cross;
};

// From means over the window of x, y, x^2 + y^2 and x y: SSIM needs no more than the squares' sum. In
// the paper's letters mean_x is mu_x, cross - mu_x mu_y is sigma_xy, c1 and c2 are C1 = (K1 L)^2 and
// C2 = (K2 L)^2 of K1 = 0.01, K2 = 0.03 and the range L = 1; value is (a1 a2) / (b1 b2), its factors
// being 2 mu_x mu_y + C1, 2 sigma_xy + C2, mu_x^2 + mu_y^2 + C1 and sigma_x^2 + sigma_y^2 + C2.
template <class S, class T>
SPLAT_HD Similarity<T> similarity(T mean_x, T mean_y, T square, T cross, T one) {
  const S c1 = S(0.01 * 0.01), c2 = S(0.03 * 0.03);
  const T product = mean_x * mean_y, squares = mean_x * mean_x + mean_y * mean_y;
  const T a1 = product * S(2) + c1, a2 = (cross - product) * S(2) + c2;
  const T b1 = squares + c1, b2 = square - squares + c2;
  const T inverse = one / (b1 * b2), by_cross = a1 * inverse, value = by_cross * a2;
  const T shrink = value * inverse;
  const T by_mean = (a2 - a1) * (mean_y * inverse) - (b2 - b1) * (mean_x * shrink);
  return {value, by_mean, b1 * shrink, by_cross};
}

// The paper's letters are beside ours. Multiplying is cheaper than dividing, and m + (g - m)(1 - beta)
// rounds less than beta m + (1 - beta) g.
template <class S>
struct AdamNumbers {
  S toward1, toward2;   // 1 - beta1, 1 - beta2: how far a moment moves towards the gradient
  S unbias1;            // m^ = m / (1 - beta1^t) is m times this, t being the count of steps
  S unbias_root2;       // sqrt(v^) = sqrt(v / (1 - beta2^t)) is sqrt(v) times this
  S epsilon;
};

// Moves the moments, m and v; gives what to subtract from the value (theta), per unit of rate (alpha):
// m^ / (sqrt(v^) + epsilon) for the gradient g.
template <class S, class T>
SPLAT_HD T adam_step(const AdamNumbers<S>& n, T gradient, T& first, T& second) {
  first = first + (gradient - first) * n.toward1;                    // m = beta1 m + (1 - beta1) g
  second = second + (gradient * gradient - second) * n.toward2;      // v = beta2 v + (1 - beta2) g^2
  return first * n.unbias1 / (sqrt(second) * n.unbias_root2 + n.epsilon);
}

}  // namespace splat::SPLAT_ISA
