#include "affine.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace edgesdk {
namespace {

constexpr int kGainOne = 4096;
constexpr float kLargestGain = 4 * kGainOne - 1; // differences of two fit 16 bits
constexpr float kLargestBias = 16383;

// To the nearest whole number, halves away from zero: no call of a function, so that loops of it
// become vectors on every processor.
int rounded(float x, float limit) {
  const float inside = std::min(std::max(x, -limit), limit);
  return static_cast<int>(inside + std::copysign(0.5f, inside));
}
int rounded(double x) { return static_cast<int>(x + std::copysign(0.5, x)); }

// Sums of `numbers` sums a column over the columns at most `r` away.
template <int numbers>
void slide(const int32_t* sums, int w, int r, int32_t* windows) {
  int32_t window[numbers] = {};
  const auto add_column = [&](int x, int sign) {
    for (int k = 0; k < numbers; ++k) window[k] += sign * sums[numbers * x + k];
  };
  for (int x = 0; x < std::min(r, w); ++x) add_column(x, 1);
  for (int x = 0; x < w; ++x) {
    if (x + r < w) add_column(x + r, 1);
    if (x - r - 1 >= 0) add_column(x - r - 1, -1);
    for (int k = 0; k < numbers; ++k) windows[numbers * x + k] = window[k];
  }
}

}  // namespace

AffineFitter::AffineFitter(int width, int height, int radius, float epsilon)
    : width_(width), height_(height), radius_(radius), epsilon_(epsilon * 255 * 255),
      stride_(field_stride(width)) {
  // Of each channel, four numbers a column: sums over the window's rows, then over its columns too.
  const size_t columns = 3 * 8 * static_cast<size_t>(width);
  sums_ = memory_.reserve<int32_t>(columns + 6 * plane_size());
  fitted_ = sums_ + columns;
  for (int x = 0; x < width; ++x)
    columns_.push_back(static_cast<float>(std::min(x + radius, width - 1) - std::max(x - radius, 0) + 1));
}

size_t AffineFitter::plane_size() const {
  return static_cast<size_t>(stride_) * static_cast<size_t>(height_);
}

void AffineFitter::fit(const Picture& original, const Picture& painted, ThreadPool& pool,
                       const AffineMap& map) const {
  pool.run(3, [&](int channel, int) {
    fit_channel(original, painted, channel, map.gain[channel], map.bias[channel]);
  });
}

void AffineFitter::fit_channel(const Picture& original, const Picture& painted, int channel,
                               int16_t* gain, int16_t* bias) const {
  const int w = width_, h = height_, r = radius_;
  int32_t* sums = sums_ + channel * 8 * w;
  int32_t* windows = sums + 4 * w;
  int32_t* gains = fitted_ + 2 * static_cast<size_t>(channel) * plane_size();
  int32_t* biases = gains + plane_size();

  // Sums of x, y, x x and x y over the window's rows, column by column, move down by one row.
  std::memset(sums, 0, sizeof(int32_t) * 4 * static_cast<size_t>(w));
  const auto add_row = [&](int y, int sign) {
    const uint8_t *x_row = row_of(original, y) + channel, *y_row = row_of(painted, y) + channel;
    for (int i = 0; i < w; ++i) {
      const int a = sign * x_row[4 * i];
      sums[4 * i] += a;
      sums[4 * i + 1] += sign * y_row[4 * i];
      sums[4 * i + 2] += a * x_row[4 * i];
      sums[4 * i + 3] += a * y_row[4 * i];
    }
  };
  for (int y = 0; y < std::min(r, h); ++y) add_row(y, 1);
  for (int y = 0; y < h; ++y) {
    if (y + r < h) add_row(y + r, 1);
    if (y - r - 1 >= 0) add_row(y - r - 1, -1);
    slide<4>(sums, w, r, windows);
    const float rows = static_cast<float>(std::min(y + r, h - 1) - std::max(y - r, 0) + 1);
    int32_t *gain_row = gains + y * stride_, *bias_row = biases + y * stride_;
    for (int x = 0; x < w; ++x) {
      const float n = rows * columns_[static_cast<size_t>(x)];
      const int32_t* window = windows + 4 * x;
      const float mean_x = static_cast<float>(window[0]) / n, mean_y = static_cast<float>(window[1]) / n;
      const float variance = static_cast<float>(window[2]) / n - mean_x * mean_x;
      const float covariance = static_cast<float>(window[3]) / n - mean_x * mean_y;
      const float a = covariance / (std::max(variance, 0.0f) + epsilon_);
      gain_row[x] = rounded(a * kGainOne, kLargestGain);
      bias_row[x] = rounded((mean_y - static_cast<float>(gain_row[x]) * mean_x / kGainOne) * kOne, kLargestBias);
    }
  }

  // The same again over the fitted windows; their sums are whole numbers, so none drifts.
  std::memset(sums, 0, sizeof(int32_t) * 2 * static_cast<size_t>(w));
  const auto move_row = [&](int y, int sign) {
    for (int i = 0; i < w; ++i) {
      sums[2 * i] += sign * gains[y * stride_ + i];
      sums[2 * i + 1] += sign * biases[y * stride_ + i];
    }
  };
  for (int y = 0; y < std::min(r, h); ++y) move_row(y, 1);
  for (int y = 0; y < h; ++y) {
    if (y + r < h) move_row(y + r, 1);
    if (y - r - 1 >= 0) move_row(y - r - 1, -1);
    slide<2>(sums, w, r, windows);
    const double rows = std::min(y + r, h - 1) - std::max(y - r, 0) + 1;
    int16_t *gain_row = gain + y * stride_, *bias_row = bias + y * stride_;
    for (int x = 0; x < w; ++x) {
      const double n = rows * static_cast<double>(columns_[static_cast<size_t>(x)]);
      gain_row[x] = static_cast<int16_t>(rounded(windows[2 * x] / n));
      bias_row[x] = static_cast<int16_t>(rounded(windows[2 * x + 1] / n));
    }
    gain_row[w] = gain_row[w - 1];
    bias_row[w] = bias_row[w - 1];
  }
}

}  // namespace edgesdk
