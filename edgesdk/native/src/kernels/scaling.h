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
  constexpr int kAtOnce = 4;
  const int bytes = task.width * task.channels;
  const int first = task.down.first[y], count = task.down.count[y];
  const int32_t* weights = task.down.weights + task.down.offset[y];
  const uint8_t* source = task.source + first * task.stride;
  int i = 0;
  for (; i + 16 * kAtOnce <= bytes; i += 16 * kAtOnce) {
    Sum16 sums[kAtOnce];
    for (Sum16& sum : sums) sum = zero_sum();
    for (int r = 0; r < count; ++r)
      for (int k = 0; k < kAtOnce; ++k)
        sums[k] = add_weighted(sums[k], source + r * task.stride + i + 16 * k, weights[r]);
    for (int k = 0; k < kAtOnce; ++k) store(task.sums + i + 16 * k, sums[k]);
  }
  for (; i < bytes; ++i) {
    int sum = 0;
    for (int r = 0; r < count; ++r) sum += weights[r] * source[r * task.stride + i];
    task.sums[i] = static_cast<uint16_t>(sum);
  }
}

// Four lanes of 1/65536 for each of `count` small pixels from `begin` on; the fourth means nothing.
static inline void sum_grey_columns(const DownscaleTask& task, int begin, int count, int32_t* totals) {
  for (int x = begin; x < begin + count; ++x, totals += 4) {
    const uint16_t* sums = task.sums + task.across.first[x];
    const int32_t* weights = task.across.weights + task.across.offset[x];
    int32_t total = 0;
    for (int i = 0; i < task.across.count[x]; ++i) total += weights[i] * sums[i];
    totals[0] = totals[1] = totals[2] = total;
  }
}

// Where every small pixel is as wide as the others: two at a time.
template <int channels>
static inline void sum_even_columns(const DownscaleTask& task, int begin, int count, int32_t* totals) {
  const int each = task.across.uniform, step = channels * each;
  const I8 weight = i8(task.across.weights[0]);
  const uint16_t* sums = task.sums + static_cast<ptrdiff_t>(begin) * step;
  for (int x = 0; x < count; x += 2, sums += 2 * step) {
    // What the last of an odd number has beside it is not kept.
    const uint16_t* next = x + 1 < count ? sums + step : sums;
    I8 total = widen_fours(sums, next);
    for (int i = 1; i < each; ++i)
      total = total + widen_fours(sums + channels * i, next + channels * i);
    store(totals + 4 * x, total * weight);
  }
}

// Otherwise two source columns of one pixel at a time, the last of an odd number with a nought.
template <int channels>
static inline void sum_columns(const DownscaleTask& task, int begin, int count, int32_t* totals) {
  for (int x = begin; x < begin + count; ++x, totals += 4) {
    const uint16_t* sums = task.sums + static_cast<ptrdiff_t>(task.across.first[x]) * channels;
    const int32_t* weights = task.across.fours + 4 * static_cast<ptrdiff_t>(task.across.offset[x]);
    I8 total = widen_fours(sums, sums + channels) * load(weights);
    for (int i = 2; i < task.across.count[x]; i += 2)
      total = total + widen_fours(sums + channels * i, sums + channels * (i + 1)) * load(weights + 4 * i);
    int32_t halves[8];
    store(halves, total);
    for (int c = 0; c < 4; ++c) totals[c] = halves[c] + halves[4 + c];
  }
}

static void downscale(const DownscaleTask& task) {
  constexpr int kColumns = 64;
  int32_t totals[4 * kColumns + 4];
  for (int y = task.row_begin; y < task.row_end; ++y) {
    sum_rows(task, y);
    for (int begin = 0; begin < task.small.width; begin += kColumns) {
      const int count = clamped(task.small.width - begin, 0, kColumns);
      const bool even = task.across.uniform != 0;
      if (task.channels == 1) sum_grey_columns(task, begin, count, totals);
      else if (task.channels == 3 && even) sum_even_columns<3>(task, begin, count, totals);
      else if (task.channels == 3) sum_columns<3>(task, begin, count, totals);
      else if (even) sum_even_columns<4>(task, begin, count, totals);
      else sum_columns<4>(task, begin, count, totals);
      // Plain loops, which compilers turn into vectors.
      float* grey = row_of(task.grey, y) + begin;
      for (int x = 0; x < count; ++x) {
        const uint32_t luma = 77 * static_cast<uint32_t>(totals[4 * x]) +
                              150 * static_cast<uint32_t>(totals[4 * x + 1]) +
                              29 * static_cast<uint32_t>(totals[4 * x + 2]);
        grey[x] = static_cast<float>(luma) * (1.0f / 16777216.0f);
      }
      uint8_t* small = row_of(task.small, y) + 4 * begin;
      for (int i = 0; i < 4 * count; ++i) small[i] = static_cast<uint8_t>((totals[i] + 32768) >> 16);
      for (int x = 0; x < count; ++x) small[4 * x + 3] = 255;
    }
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
