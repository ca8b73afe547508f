// The photometric loss (1 - w) L1 + w (1 - SSIM) and its gradient by the image, in one pass.
//
// A work item is a tile of columns of a band of rows. Lane l of vector j of a row holds the tile's
// pixel l * span + j: neighbours in the picture are neighbouring vectors, so that the window's sums
// along a row read whole vectors, as those along a column do. What lies within reach of a tile's
// edge is computed by both neighbours, and counted by the one that owns it.
//
// Per colour channel the rows stream through two rings of window height: sums along rows of the
// pictures, whose sums along columns give SSIM and its derivatives; and sums along rows of those,
// whose sums along columns give the gradient. Pictures and gradient alone leave the near caches.
#pragma once

#include <cstring>

#include "buffer.h"
#include "clock.h"
#include "kernels.h"
#include "pool.h"
#include "window.h"

namespace splat::SPLAT_ISA {

constexpr int kMaps = 4;                // vectors of a row that lie side by side
constexpr int kTileColumns = 204;       // a wider tile overlaps less, and needs larger rings
constexpr int kBandRows = 160;          // a higher band overlaps less, and needs more pictures
constexpr int kLeastRows = 24;          // of a band, where there are fewer work items than wanted
constexpr int kItems = 16;              // wanted: as many threads have something to do
constexpr int kVectors = (kTileColumns + 4 * kRadius + W - 1) / W;
static_assert(kVectors >= kRadius + 2, "a window reaches into the next lane only");

// How the picture is cut into work items: a matter of its size alone, never of the threads.
struct Partition {
  int columns, rows;  // that an item owns; the last ones may own fewer
  int across, items;

  Partition(int width, int height) {
    across = (width + kTileColumns - 1) / kTileColumns;
    columns = (width + across - 1) / across;
    const int most_bands = (height + kLeastRows - 1) / kLeastRows;
    const int wanted = least((kItems + across - 1) / across, most_bands);
    const int bands = most(wanted, (height + kBandRows - 1) / kBandRows);
    rows = (height + bands - 1) / bands;
    rows += rows % 2;
    items = across * ((height + rows - 1) / rows);
  }
};

// One work item.
class Tile {
 public:
  Tile(const Photometric& loss, const Partition& partition, std::ptrdiff_t item)
      : loss_(loss),
        left_(int(item % partition.across) * partition.columns),
        right_(least(left_ + partition.columns, loss.width)),
        top_(int(item / partition.across) * partition.rows),
        bottom_(least(top_ + partition.rows, loss.height)),
        reach_(loss.v_image ? 2 * kRadius : kRadius),
        first_(top_ - reach_),
        span_(most((partition.columns + 4 * kRadius + W - 1) / W, kRadius + 2)),
        stride_((span_ + 1) * kMaps * W) {
    for (int i = 0; i <= kRadius; ++i) window_.weight[i] = set1(real(window_weight(i)));
    const double samples = 3.0 * loss.width * loss.height;
    ssim_scale_ = real(loss.ssim_weight / samples);
    l1_scale_ = real((1 - loss.ssim_weight) / samples);
    place_buffers();
    mark_columns();
  }

  // The tile's part of the loss.
  double run() {
    const int end = least(bottom_ + reach_, loss_.height);
    for (int row = most(first_, 0); row < end; ++row) fetch(row);
    double total = 0;
    for (int channel = 0; channel < 3; ++channel) total += stream(channel);
    if (loss_.v_image)
      for (int row = top_; row < bottom_; ++row) write_gradient(row);
    return total;
  }

 private:
  bool in_image(int row) const { return row >= 0 && row < loss_.height; }

  // Vectors of the image and of the target, side by side. In the end the gradient takes the
  // image's place.
  real* pictures(int channel, int row) const {
    return pictures_ + (std::ptrdiff_t(row - first_) * 3 + channel) * 2 * span_ * W;
  }
  real* means(int row) const { return means_ + (row - first_) % kRing * stride_; }
  real* derivatives(int row) const { return derivatives_ + (row - first_) % kRing * stride_; }
  const real* owned(int row) const { return row >= top_ && row < bottom_ ? owned_ : nowhere_; }

  void place_buffers() {
    thread_local Buffer<real> scratch;
    const int columns = span_ * W;
    const std::ptrdiff_t of_pictures = std::ptrdiff_t(bottom_ + 2 * reach_ - top_ + 2) * 6 * columns;
    const std::ptrdiff_t others = (2 * kRing + 2) * stride_ + 6 * columns + W;
    pictures_ = scratch.resize(of_pictures + others);
    means_ = pictures_ + of_pictures;
    fill(means_, means_ + others, real(0));
    derivatives_ = means_ + kRing * stride_;
    rows_ = derivatives_ + kRing * stride_;
    present_ = rows_ + 2 * stride_;
    owned_ = present_ + columns;
    nowhere_ = owned_ + columns;
    line_ = nowhere_ + columns;
  }

  void mark_columns() {
    for (int j = 0; j < span_; ++j)
      for (int lane = 0; lane < W; ++lane) {
        const int column = left_ - 2 * kRadius + lane * span_ + j;
        present_[j * W + lane] = column >= 0 && column < loss_.width;
        owned_[j * W + lane] = column >= left_ && column < right_;
      }
    // Beyond the last vector comes the first one, a lane further. What the outermost lanes find
    // there is wrong, and beyond the reach of any pixel that the tile owns.
    for (int i = 0; i < span_ + kRing; ++i) {
      const int j = i - kRadius, lane = j < 0 ? -1 : j < span_ ? 0 : 1;
      at_[i] = (j - lane * span_) * kMaps * W + lane;
    }
    for (int i = 0; i < 3 * span_; ++i) place_[i] = (i % 3 * span_ + i / 3) * 2 * W;
  }

  void fetch(int row) {
    const std::ptrdiff_t start = std::ptrdiff_t(row) * loss_.width * 3;
    deal(static_cast<const real*>(loss_.image) + start, 0, row);
    if (loss_.bytes)
      deal(loss_.bytes + start, 1, row);
    else
      deal(static_cast<const real*>(loss_.target) + start, 1, row);
  }

  static void copy(const real* from, real* to, int count) {
    std::memcpy(to, from, count * sizeof(real));
  }
  static void copy(const uint8_t* from, real* to, int count) {
    for (int i = 0; i < count; ++i) to[i] = real(from[i]) / real(255);
  }

  // From interleaved colours to vectors of one; zeros beyond the edges of the picture.
  template <class Value>
  void deal(const Value* source, int which, int row) {
    const int origin = left_ - 2 * kRadius, values = 3 * span_;
    const int begin = most(-origin, 0), end = least(loss_.width - origin, span_ * W);
    fill(line_, line_ + 3 * begin, real(0));
    copy(source + 3 * (origin + begin), line_ + 3 * begin, 3 * (end - begin));
    fill(line_ + 3 * end, line_ + values * W, real(0));
    real* target = pictures(0, row) + which * W;
    for (int i = 0; i < values; i += W) {
      F v[W];
      for (int lane = 0; lane < W; ++lane) v[lane] = load(line_ + values * lane + i);
      transpose(v);
      for (int k = 0; k < W && i + k < values; ++k) store(target + place_[i + k], v[k]);
    }
  }

  void write_gradient(int row) {
    const int values = 3 * span_;
    const real* source = pictures(0, row);
    // Upwards, since the last block of a lane spills over the first one of the next.
    for (int i = (values - 1) / W * W; i >= 0; i -= W) {
      F v[W];
      for (int k = 0; k < W; ++k) v[k] = load(source + place_[least(i + k, values - 1)]);
      transpose(v);
      for (int lane = 0; lane < W; ++lane) store(line_ + values * lane + i, v[lane]);
    }
    real* image = static_cast<real*>(loss_.v_image) + std::ptrdiff_t(row) * loss_.width * 3;
    copy(line_ + 3 * 2 * kRadius, image + 3 * left_, 3 * (right_ - left_));
  }

  // One channel from top to bottom, two rows at a time.
  double stream(int channel) {
    double total = 0;
    for (int row = first_; row - reach_ < bottom_; row += 2) {
      sum_pictures(channel, row);
      sum_pictures(channel, row + 1);
      if (row < first_ + 2 * kRadius) continue;
      total += compare(channel, row - kRadius);
      if (loss_.v_image && row >= top_ + 2 * kRadius) differentiate(channel, row - 2 * kRadius);
    }
    return total;
  }

  // Window sums along a row of the first `maps` maps.
  template <int maps>
  void sum_row(const real* source, real* target) const {
    const Window window = window_;
    const int* at = at_;
    for (int j = 0, end = span_; j < end; j += 2, at += 2, target += 2 * kMaps * W)
      for (int map = 0; map < maps; ++map) {
        const Pair s = window.sums([&](int k) { return load(source + at[k] + map * W); });
        store(target + map * W, s.a);
        store(target + (kMaps + map) * W, s.b);
      }
  }

  void sum_pictures(int channel, int row) {
    if (!in_image(row)) {
      fill(means(row), means(row) + stride_, real(0));
      return;
    }
    const real* from = pictures(channel, row);
    real* to = rows_;
    for (int j = 0, end = span_; j < end; ++j, from += 2 * W, to += kMaps * W) {
      const F x = load(from), y = load(from + W);
      store(to, x);
      store(to + W, y);
      store(to + 2 * W, fma(x, x, y * y));
      store(to + 3 * W, x * y);
    }
    sum_row<4>(rows_, means(row));
  }

  // SSIM and L1 of two rows; the derivatives of SSIM enter their ring.
  double compare(int channel, int row) {
    const Window window = window_;
    const real* rows[kRing];
    for (int k = 0; k < kRing; ++k) rows[k] = means(row - kRadius + k);
    F total = set1(0);
    for (int j = 0, end = span_; j < end; ++j) {
      const int i = j * kMaps * W;
      const auto sums = [&](int map) {
        return window.sums([&](int k) { return load(rows[k] + i + map * W); });
      };
      const Pair x = sums(0), y = sums(1), square = sums(2), cross = sums(3);
      const auto a = similarity<real>(x.a, y.a, square.a, cross.a, set1(1));
      keep(a, rows_ + i, j);
      const auto b = similarity<real>(x.b, y.b, square.b, cross.b, set1(1));
      keep(b, rows_ + stride_ + i, j);
      total += loss_at(a.value, channel, row, j) + loss_at(b.value, channel, row + 1, j);
    }
    if (loss_.v_image) {
      enter(row, rows_);
      enter(row + 1, rows_ + stride_);
    }
    return double(sum(total));
  }

  F loss_at(F similar, int channel, int row, int j) const {
    const real* picture = pictures(channel, least(most(row, 0), loss_.height - 1)) + j * 2 * W;
    const F distance = abs(load(picture) - load(picture + W)), ssim = set1(ssim_scale_);
    const F value = fma(set1(l1_scale_), distance, fnma(ssim, similar, ssim));
    return zero_unless(load(owned(row) + j * W) > set1(real(0.5)), value);
  }

  // Beyond the edge of the picture there is no SSIM to change.
  void keep(const Similarity<F>& point, real* row, int j) const {
    const M present = load(present_ + j * W) > set1(real(0.5));
    store(row, zero_unless(present, point.by_mean));
    store(row + W, zero_unless(present, point.by_square));
    store(row + 2 * W, zero_unless(present, point.by_cross));
  }

  void enter(int row, const real* maps) {
    if (in_image(row))
      sum_row<3>(maps, derivatives(row));
    else
      fill(derivatives(row), derivatives(row) + stride_, real(0));
  }

  // The gradient of two rows, in place of the image.
  void differentiate(int channel, int row) {
    const Window window = window_;
    const real* rows[kRing];
    for (int k = 0; k < kRing; ++k) rows[k] = derivatives(row - kRadius + k);
    const F ssim = set1(-2 * ssim_scale_), l1 = set1(l1_scale_);
    const auto turn = [&](real* picture, F mean, F square, F cross) {
      const F x = load(picture), y = load(picture + W);
      const F pull = fma(y, cross, fnma(x, square, mean));
      store(picture, fma(ssim, pull, zero_unless(x > y, l1) - zero_unless(x < y, l1)));
    };
    real *upper = pictures(channel, row), *lower = pictures(channel, row + 1);
    for (int j = 0, end = span_; j < end; ++j) {
      const auto sums = [&](int map) {
        return window.sums([&](int k) { return load(rows[k] + (j * kMaps + map) * W); });
      };
      const Pair mean = sums(0), square = sums(1), cross = sums(2);
      turn(upper + j * 2 * W, mean.a, square.a, cross.a);
      turn(lower + j * 2 * W, mean.b, square.b, cross.b);
    }
  }

  const Photometric& loss_;
  int left_, right_, top_, bottom_;  // pixels that the tile owns
  int reach_, first_;                // rows needed beyond them; the first of those
  int span_, stride_;                // vectors of a row; values of a row of maps
  real ssim_scale_, l1_scale_;
  Window window_;
  real *pictures_, *means_, *derivatives_, *rows_, *line_;
  real *present_, *owned_, *nowhere_;  // 1 where a column is in the picture, in the tile; never
  int at_[kVectors + kRing];           // where the vectors around a place of a row of maps are
  int place_[3 * kVectors];            // and those of a row's values, colours interleaved
};

static double photometric(const Photometric& loss) {
  if (loss.width < 1 || loss.height < 1) return 0;
  StageClock clock;
  const Partition partition(loss.width, loss.height);
  thread_local Buffer<double> kept;
  double* const parts = kept.resize(partition.items);
  parallel_for(partition.items, [&](std::ptrdiff_t item) {
    parts[item] = Tile(loss, partition, item).run();
  });
  double total = 0;
  for (int item = 0; item < partition.items; ++item) total += parts[item];
  clock.done(kLoss);
  return total;
}

}  // namespace splat::SPLAT_ISA
