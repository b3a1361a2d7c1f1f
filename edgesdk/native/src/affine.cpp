#include "affine.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace edgesdk {
namespace {

constexpr int kGainOne = 4096;
constexpr int kLargestGain = 4 * kGainOne - 1; // differences of two fit 16 bits
constexpr int kLargestBias = 16383;

int rounded(float x, int limit) {
  return static_cast<int>(std::floor(std::clamp(x, -static_cast<float>(limit), static_cast<float>(limit)) + 0.5f));
}

int divided(int64_t sum, int count) {
  const int64_t half = count / 2;
  return static_cast<int>(sum >= 0 ? (sum + half) / count : -((-sum + half) / count));
}

}  // namespace

AffineFitter::AffineFitter(int width, int height, int radius, float epsilon)
    : width_(width), height_(height), radius_(radius), epsilon_(epsilon * 255 * 255),
      stride_(field_stride(width)) {
  const size_t columns = 3 * 4 * static_cast<size_t>(width);
  sums_ = memory_.reserve<int32_t>(columns + 6 * plane_size());
  fitted_ = sums_ + columns;
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
  int32_t* sums = sums_ + channel * 4 * w;
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
    const int rows = std::min(y + r, h - 1) - std::max(y - r, 0) + 1;
    int32_t window[4] = {0, 0, 0, 0};
    const auto add_column = [&](int x, int sign) {
      for (int k = 0; k < 4; ++k) window[k] += sign * sums[4 * x + k];
    };
    for (int x = 0; x < std::min(r, w); ++x) add_column(x, 1);
    for (int x = 0; x < w; ++x) {
      if (x + r < w) add_column(x + r, 1);
      if (x - r - 1 >= 0) add_column(x - r - 1, -1);
      const int columns = std::min(x + r, w - 1) - std::max(x - r, 0) + 1;
      const float n = static_cast<float>(rows * columns);
      const float mean_x = static_cast<float>(window[0]) / n, mean_y = static_cast<float>(window[1]) / n;
      const float variance = static_cast<float>(window[2]) / n - mean_x * mean_x;
      const float covariance = static_cast<float>(window[3]) / n - mean_x * mean_y;
      const float a = covariance / (std::max(variance, 0.0f) + epsilon_);
      const ptrdiff_t at = y * stride_ + x;
      gains[at] = rounded(a * kGainOne, kLargestGain);
      biases[at] = rounded((mean_y - static_cast<float>(gains[at]) * mean_x / kGainOne) * kOne, kLargestBias);
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
    const int rows = std::min(y + r, h - 1) - std::max(y - r, 0) + 1;
    int64_t total[2] = {0, 0};
    const auto add_column = [&](int x, int sign) {
      for (int k = 0; k < 2; ++k) total[k] += sign * sums[2 * x + k];
    };
    for (int x = 0; x < std::min(r, w); ++x) add_column(x, 1);
    int16_t *gain_row = gain + y * stride_, *bias_row = bias + y * stride_;
    for (int x = 0; x < w; ++x) {
      if (x + r < w) add_column(x + r, 1);
      if (x - r - 1 >= 0) add_column(x - r - 1, -1);
      const int columns = std::min(x + r, w - 1) - std::max(x - r, 0) + 1;
      gain_row[x] = static_cast<int16_t>(divided(total[0], rows * columns));
      bias_row[x] = static_cast<int16_t>(divided(total[1], rows * columns));
    }
    gain_row[w] = gain_row[w - 1];
    bias_row[w] = bias_row[w - 1];
  }
}

}  // namespace edgesdk
