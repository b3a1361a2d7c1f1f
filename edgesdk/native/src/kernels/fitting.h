// One channel of the locally affine colour map: gain and bias of every window by least squares, then
// their means over the windows that hold a pixel. Sums are of whole numbers, so none drifts.
#pragma once

static inline I8 rounded(F8 x, float limit) {
  const F8 inside = min(max(x, f8(-limit)), f8(limit));
  // To the nearest whole number, halves away from zero.
  return to_int(inside + (f8(0.5f) - at_most(inside, f8(0))));
}

// Of eight columns, over those at most `radius` away.
static inline I8 window_of(const int32_t* sums, int radius) {
  I8 sum = load(sums - radius);
  for (int d = 1 - radius; d <= radius; ++d) sum = sum + load(sums + d);
  return sum;
}

static inline void add_to(int32_t* sums, I8 x) { store(sums, load(sums) + x); }

// Beyond the last column there is nothing, whatever vectors have added there.
static inline void clear_beyond(const FitTask& task, int32_t* const* sums, int count) {
  const size_t bytes = sizeof(int32_t) * static_cast<size_t>(task.radius + 8);
  for (int k = 0; k < count; ++k) std::memset(sums[k] + task.original.width, 0, bytes);
}

// Sums of x, y, x x and x y of a row, added (1) or taken away (-1).
static inline void add_pixels(const FitTask& task, int32_t* const* sums, int y, int sign) {
  const uint8_t* x_row = row_of(task.original, y) + task.channel;
  const uint8_t* y_row = row_of(task.painted, y) + task.channel;
  for (int i = 0; i < task.original.width; i += 8) {
    const I8 a = load_words(x_row + 4 * i) & i8(255), b = load_words(y_row + 4 * i) & i8(255);
    const I8 signed_a = a * i8(sign);
    add_to(sums[0] + i, signed_a);
    add_to(sums[1] + i, b * i8(sign));
    add_to(sums[2] + i, signed_a * a);
    add_to(sums[3] + i, signed_a * b);
  }
  clear_beyond(task, sums, 4);
}

static inline void add_fitted(const FitTask& task, int32_t* const* sums, int y, int sign) {
  const int32_t *gains = task.gains + y * task.stride, *biases = task.biases + y * task.stride;
  for (int i = 0; i < task.original.width; i += 8) {
    add_to(sums[0] + i, load(gains + i) * i8(sign));
    add_to(sums[1] + i, load(biases + i) * i8(sign));
  }
  clear_beyond(task, sums, 2);
}

static inline void fit_row(const FitTask& task, int32_t* const* sums, int y, F8 rows) {
  const int r = task.radius;
  for (int x = 0; x < task.original.width; x += 8) {
    const F8 n = rows * load(task.columns + x);
    const F8 mean_x = to_float(window_of(sums[0] + x, r)) / n;
    const F8 mean_y = to_float(window_of(sums[1] + x, r)) / n;
    const F8 variance = to_float(window_of(sums[2] + x, r)) / n - mean_x * mean_x;
    const F8 covariance = to_float(window_of(sums[3] + x, r)) / n - mean_x * mean_y;
    const F8 slope = covariance / (max(variance, f8(0)) + f8(task.epsilon));
    const I8 gain = rounded(slope * f8(kGainOne), kLargestGain);
    const F8 bias = (mean_y - to_float(gain) * mean_x * f8(1.0f / kGainOne)) * f8(kOne);
    store(task.gains + y * task.stride + x, gain);
    store(task.biases + y * task.stride + x, rounded(bias, kLargestBias));
  }
}

static inline void mean_row(const FitTask& task, int32_t* const* sums, int y, F8 rows) {
  const int w = task.original.width, r = task.radius;
  int16_t *gain = task.gain + y * task.stride, *bias = task.bias + y * task.stride;
  for (int x = 0; x < w; x += 8) {
    const F8 n = rows * load(task.columns + x);
    store(gain + x, narrow(rounded(to_float(window_of(sums[0] + x, r)) / n, kLargestGain)));
    store(bias + x, narrow(rounded(to_float(window_of(sums[1] + x, r)) / n, kLargestBias)));
  }
  gain[w] = gain[w - 1];
  bias[w] = bias[w - 1];
}

static void fit(const FitTask& task) {
  const int h = task.original.height, r = task.radius;
  int32_t* sums[4];
  for (int pass = 0; pass < 2; ++pass) {
    std::memset(task.sums, 0, 4 * sizeof(int32_t) * static_cast<size_t>(task.sums_stride));
    // As many columns of nothing before the first.
    for (int k = 0; k < 4; ++k) sums[k] = task.sums + k * task.sums_stride + r;
    const auto add = pass == 0 ? add_pixels : add_fitted;
    for (int y = 0; y < (r < h ? r : h); ++y) add(task, sums, y, 1);
    for (int y = 0; y < h; ++y) {
      if (y + r < h) add(task, sums, y + r, 1);
      if (y - r - 1 >= 0) add(task, sums, y - r - 1, -1);
      const int top = y < r ? 0 : y - r, bottom = y + r < h ? y + r : h - 1;
      const F8 rows = f8(static_cast<float>(bottom - top + 1));
      if (pass == 0) fit_row(task, sums, y, rows);
      else mean_row(task, sums, y, rows);
    }
  }
}
