// The photometric loss and Adam of one table against plain double code, for the test driver.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <stdexcept>
#include <vector>

#include "kernels.h"
#include "pool.h"

namespace splat {
namespace losses {

using Numbers = std::vector<double>;

struct Picture {
  int width, height;

  std::size_t at(int row, int column, int channel) const {
    return (std::size_t(row) * width + column) * 3 + channel;
  }
  std::size_t size() const { return at(height, 0, 0); }

  // The window's mean around every value, zeros beyond the edges.
  Numbers blurred(const Numbers& values) const {
    double weight[11], total = 0;
    for (int i = 0; i < 11; ++i) total += weight[i] = std::exp(-(i - 5) * (i - 5) / 4.5);
    for (double& w : weight) w /= total;
    Numbers result(size(), 0.0);
    for (int y = 0; y < height; ++y)
      for (int x = 0; x < width; ++x)
        for (int i = -5; i <= 5; ++i)
          for (int j = -5; j <= 5; ++j)
            if (y + i >= 0 && y + i < height && x + j >= 0 && x + j < width)
              for (int c = 0; c < 3; ++c)
                result[at(y, x, c)] += weight[i + 5] * weight[j + 5] * values[at(y + i, x + j, c)];
    return result;
  }

  // The loss; its gradient by x goes into `gradient`.
  double loss(const Numbers& x, const Numbers& y, double ssim_weight, Numbers& gradient) const {
    const auto product = [](const Numbers& a, const Numbers& b) {
      Numbers result(a);
      for (std::size_t i = 0; i < a.size(); ++i) result[i] *= b[i];
      return result;
    };
    const Numbers mx = blurred(x), my = blurred(y), xx = blurred(product(x, x));
    const Numbers yy = blurred(product(y, y)), xy = blurred(product(x, y));
    Numbers by_mx(size()), by_xx(size()), by_xy(size());
    double l1 = 0, ssim = 0;
    for (std::size_t i = 0; i < size(); ++i) {
      const double a1 = 2 * mx[i] * my[i] + 1e-4, a2 = 2 * (xy[i] - mx[i] * my[i]) + 9e-4;
      const double b1 = mx[i] * mx[i] + my[i] * my[i] + 1e-4;
      const double b2 = xx[i] - mx[i] * mx[i] + yy[i] - my[i] * my[i] + 9e-4;
      const double s = a1 * a2 / (b1 * b2);
      by_mx[i] = 2 * my[i] * (a2 - a1) / (b1 * b2) - 2 * mx[i] * s * (1 / b1 - 1 / b2);
      by_xx[i] = -s / b2;
      by_xy[i] = 2 * a1 / (b1 * b2);
      ssim += s;
      l1 += std::fabs(x[i] - y[i]);
    }
    by_mx = blurred(by_mx), by_xx = blurred(by_xx), by_xy = blurred(by_xy);
    gradient.resize(size());
    for (std::size_t i = 0; i < size(); ++i) {
      const double sign = x[i] > y[i] ? 1 : x[i] < y[i] ? -1 : 0;
      const double pull = by_mx[i] + 2 * x[i] * by_xx[i] + y[i] * by_xy[i];
      gradient[i] = ((1 - ssim_weight) * sign - ssim_weight * pull) / double(size());
    }
    return (1 - ssim_weight) * l1 / double(size()) + ssim_weight * (1 - ssim / double(size()));
  }
};

// Unlike std::fmax this keeps what is not a number.
inline double larger(double a, double b) { return b <= a ? a : b; }

template <class Real>
constexpr double kTolerance = sizeof(Real) == 8 ? 1e-11 : 1e-5;

// 1 where the error is too large, or not a number.
template <class Real>
int report(const Table& table, const char* what, int width, int height, double error) {
  if (std::fabs(error) <= kTolerance<Real>) return 0;
  std::printf("%s: %s at %d x %d is off by %g\n", table.name, what, width, height, error);
  return 1;
}

template <class Real>
int check_picture(const Table& table, int width, int height, bool bytes) {
  const Picture picture{width, height};
  std::mt19937 random(7);
  std::vector<Real> image(picture.size()), target(picture.size()), gradient(picture.size());
  std::vector<uint8_t> pixels(picture.size());
  Numbers x(picture.size()), y(picture.size()), expected;
  for (std::size_t i = 0; i < picture.size(); ++i) {
    image[i] = Real(random() % 1000 / 999.0), pixels[i] = uint8_t(random());
    target[i] = i % 5 ? Real(pixels[i] / 255.0) : image[i];
    x[i] = double(image[i]), y[i] = bytes ? pixels[i] / 255.0 : double(target[i]);
  }
  Photometric call{.image = image.data(),
                   .target = bytes ? nullptr : target.data(),
                   .bytes = bytes ? pixels.data() : nullptr,
                   .v_image = gradient.data(),
                   .width = width,
                   .height = height,
                   .ssim_weight = 0.3};
  const double loss = table.photometric(call);
  const double truth = picture.loss(x, y, 0.3, expected);
  call.v_image = nullptr;
  const double alone = table.photometric(call);
  double largest = 0, worst = 0;
  for (std::size_t i = 0; i < picture.size(); ++i) {
    largest = std::fmax(largest, std::fabs(expected[i]));
    worst = larger(worst, std::fabs(double(gradient[i]) - expected[i]));
  }
  return report<Real>(table, "loss", width, height, loss - truth) +
         report<Real>(table, "loss alone", width, height, alone - truth) +
         report<Real>(table, "gradient of the loss", width, height, worst / largest);
}

// A step, or one aside beside loops that others run.
inline void adam(const Table& table, const Adam& step, bool aside) {
  if (!aside) return table.adam(step);
  const std::uint64_t number = table.adam_aside(step);
  std::vector<int> seen(100);
  for (int i = 0; i < 5; ++i) parallel_for(100, [&](std::ptrdiff_t k) { ++seen[k]; });
  if (seen != std::vector<int>(100, 5)) throw std::runtime_error("a loop beside another skips items");
  finish(number);
  finish(number);  // of one that is done nothing is left to do
}

template <class Real>
int check_adam(const Table& table, int rows, int columns, int head, bool aside) {
  const std::size_t count = std::size_t(rows) * columns;
  std::mt19937 random(11);
  const auto number = [&] { return Real(random() % 2001 / 1000.0 - 1); };
  std::vector<Real> values(count), gradient(count), first(count), second(count);
  for (std::size_t i = 0; i < count; ++i)
    values[i] = number(), gradient[i] = number(), first[i] = number(),
    second[i] = std::fabs(number());
  const Numbers p(values.begin(), values.end()), m(first.begin(), first.end());
  const Numbers v(second.begin(), second.end());
  const Adam step{.values = values.data(),
                  .gradient = gradient.data(),
                  .first = first.data(),
                  .second = second.data(),
                  .rows = rows,
                  .columns = columns,
                  .head = head,
                  .begin = 0,
                  .end = columns,
                  .rate = 0.1,
                  .tail_rate = 0.01,
                  .beta1 = 0.9,
                  .beta2 = 0.999,
                  .epsilon = 1e-8,
                  .correction1 = 1 - std::pow(0.9, 5),
                  .correction2 = 1 - std::pow(0.999, 5)};
  adam(table, step, aside);
  double worst = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const double g = double(gradient[i]), rate = int(i % columns) < head ? 0.1 : 0.01;
    const double next_m = 0.9 * m[i] + 0.1 * g, next_v = 0.999 * v[i] + 0.001 * g * g;
    const double root = std::sqrt(next_v / step.correction2) + 1e-8;
    const double change = rate * (next_m / step.correction1) / root;
    worst = larger(worst, std::fabs(double(first[i]) - next_m));
    worst = larger(worst, std::fabs(double(second[i]) - next_v));
    const double miss = std::fabs(double(values[i]) - (p[i] - change));
    worst = larger(worst, miss / std::fmax(1, std::fabs(change)));
  }
  return report<Real>(table, aside ? "adam aside" : "adam", rows, columns, worst);
}

template <class Real>
int check(const Table& table) {
  int failures = 0;
  const int sizes[][2] = {{1, 1},    {7, 5},    {3, 40},   {40, 3},
                          {31, 107}, {204, 13}, {205, 29}, {413, 12}};
  for (const auto& size : sizes)
    for (const bool bytes : {false, true})
      failures += check_picture<Real>(table, size[0], size[1], bytes);
  const int shapes[][3] = {{0, 3, 1}, {1, 1, 1}, {1001, 3, 3}, {333, 48, 3}, {57, 7, 2}, {3, 100, 0}};
  for (const auto& shape : shapes)
    for (const bool aside : {false, true})
      failures += check_adam<Real>(table, shape[0], shape[1], shape[2], aside);
  return failures;
}

}  // namespace losses

// Failures of one table's loss and optimizer, with any number of threads.
inline int check_losses(const Table& table) {
  const int before = threads();
  int failures = 0;
  for (const int count : {1, 3}) {
    set_threads(count);
    const bool wide = std::strcmp(table.name, "f64") == 0;
    failures += wide ? losses::check<double>(table) : losses::check<float>(table);
  }
  set_threads(before);
  return failures;
}

}  // namespace splat
