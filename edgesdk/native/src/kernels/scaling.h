// From a frame to the grey pyramid of its small picture.
#pragma once

// Repeat a plane's border into the pixels around it.
static inline void extend(const Plane& plane) {
  const size_t bytes = sizeof(float) * static_cast<size_t>(plane.width + 2 * kPad);
  for (int y = 0; y < plane.height; ++y) {
    float* row = row_of(plane, y);
    for (int x = 1; x <= kPad; ++x) {
      row[-x] = row[0];
      row[plane.width - 1 + x] = row[plane.width - 1];
    }
  }
  for (int y = 1; y <= kPad; ++y) {
    std::memcpy(row_of(plane, -y) - kPad, row_of(plane, 0) - kPad, bytes);
    std::memcpy(row_of(plane, plane.height - 1 + y) - kPad,
                row_of(plane, plane.height - 1) - kPad, bytes);
  }
}

// Weighted sums of the source rows under one destination row, byte by byte; 1/256.
static inline void sum_rows(const DownscaleTask& task, int y) {
  const int bytes = task.width * task.channels;
  const int first = task.down.first[y], count = task.down.count[y];
  const int32_t* weights = task.down.weights + task.down.offset[y];
  const uint8_t* source = task.source + first * task.stride;
  int i = 0;
  for (; i + 16 <= bytes; i += 16) {
    Sum16 acc = zero_sum();
    for (int r = 0; r < count; ++r) acc = add_weighted(acc, source + r * task.stride + i, weights[r]);
    store(task.sums + i, acc);
  }
  for (; i < bytes; ++i) {
    int acc = 0;
    for (int r = 0; r < count; ++r) acc += weights[r] * source[r * task.stride + i];
    task.sums[i] = static_cast<uint16_t>(acc);
  }
}

template <int channels, bool uniform>
static inline void sum_columns(const DownscaleTask& task, int y) {
  // Four lanes whatever the format: what the fourth sums up is not used.
  constexpr int lanes = channels == 1 ? 1 : 4;
  uint8_t* small = row_of(task.small, y);
  float* grey = row_of(task.grey, y);
  const int width = task.small.width, each = task.across.uniform;
  for (int x = 0; x < width; ++x) {
    const uint16_t* sums = task.sums + static_cast<ptrdiff_t>(task.across.first[x]) * channels;
    const int32_t* weights = task.across.weights + task.across.offset[x];
    const int count = uniform ? each : task.across.count[x];
    uint32_t value[4] = {0, 0, 0, 0};
    for (int i = 0; i < count; ++i, sums += channels)
      for (int c = 0; c < lanes; ++c)
        value[c] += uniform ? sums[c] : static_cast<uint32_t>(weights[i]) * sums[c];
    for (int c = 0; c < lanes; ++c)
      if (uniform) value[c] *= static_cast<uint32_t>(weights[0]);
    if (channels == 1) value[1] = value[2] = value[0];
    const uint32_t luma = 77 * value[0] + 150 * value[1] + 29 * value[2];
    grey[x] = static_cast<float>(luma) * (1.0f / 16777216.0f);
    for (int c = 0; c < 3; ++c) small[4 * x + c] = static_cast<uint8_t>((value[c] + 32768) >> 16);
    small[4 * x + 3] = 255;
  }
}

// Of RGB where every pixel is as wide as the others: two at a time.
static inline void sum_even_columns(const DownscaleTask& task, int y) {
  uint8_t* small = row_of(task.small, y);
  float* grey = row_of(task.grey, y);
  const int width = task.small.width, each = task.across.uniform, step = 3 * each;
  const I8 weight = i8(task.across.weights[0]);
  const uint16_t* sums = task.sums;
  for (int x = 0; x < width; x += 2, sums += 2 * step) {
    // What the last of an odd number has beside it is not kept.
    const uint16_t* next = x + 1 < width ? sums + step : sums;
    I8 total = widen_fours(sums, next);
    for (int i = 1; i < each; ++i) total = total + widen_fours(sums + 3 * i, next + 3 * i);
    total = total * weight;
    int32_t value[8];
    uint8_t bytes[8];
    store(value, total);
    store_bytes(bytes, shift_right<16>(total + i8(32768)));
    for (int k = 0; k < (x + 1 < width ? 2 : 1); ++k) {
      const uint32_t luma = 77 * static_cast<uint32_t>(value[4 * k]) +
                            150 * static_cast<uint32_t>(value[4 * k + 1]) +
                            29 * static_cast<uint32_t>(value[4 * k + 2]);
      grey[x + k] = static_cast<float>(luma) * (1.0f / 16777216.0f);
      bytes[4 * k + 3] = 255;
      std::memcpy(small + 4 * (x + k), bytes + 4 * k, 4);
    }
  }
}

template <int channels>
static inline void sum_row(const DownscaleTask& task, int y) {
  if (channels == 3 && task.across.uniform) sum_even_columns(task, y);
  else if (task.across.uniform) sum_columns<channels, true>(task, y);
  else sum_columns<channels, false>(task, y);
}

static void downscale(const DownscaleTask& task) {
  for (int y = task.row_begin; y < task.row_end; ++y) {
    sum_rows(task, y);
    if (task.channels == 1) sum_row<1>(task, y);
    if (task.channels == 3) sum_row<3>(task, y);
    if (task.channels == 4) sum_row<4>(task, y);
  }
}

// Mean of two by two pixels. `source` is extended, which serves odd sizes.
static void halve(const Plane& source, const Plane& target) {
  const F8 quarter = f8(0.25f);
  for (int y = 0; y < target.height; ++y) {
    const float *upper = row_of(source, 2 * y), *lower = row_of(source, 2 * y + 1);
    float* out = row_of(target, y);
    for (int x = 0; x < target.width; x += 8) {
      F8 even, odd;
      deinterleave(load(upper + 2 * x) + load(lower + 2 * x),
                   load(upper + 2 * x + 8) + load(lower + 2 * x + 8), &even, &odd);
      store(out + x, (even + odd) * quarter);
    }
  }
  extend(target);
}

// Central differences, also of the pixels that patches at the edge hang over.
static void differentiate(const Level& level) {
  const F8 half = f8(0.5f);
  for (int y = -kPatch; y < level.grey.height + kPatch; ++y) {
    const float* row = row_of(level.grey, y);
    float *gx = row_of(level.gx, y), *gy = row_of(level.gy, y);
    for (int x = -kPatch; x < level.grey.width + kPatch; x += 8) {
      store(gx + x, (load(row + x + 1) - load(row + x - 1)) * half);
      store(gy + x, (load(row + x + level.grey.stride) - load(row + x - level.grey.stride)) * half);
    }
  }
}
