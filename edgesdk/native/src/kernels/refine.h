// Variational refinement: the flow that minimises a robust brightness error plus a robust total
// variation, by lagged diffusivities and successive over-relaxation.
//
// Red-black order makes the updates of one colour independent, hence vectors. Rows are stored as
// their even columns, then their odd ones, so that a vector holds one colour only.
#pragma once

enum RefineField { kU, kV, kIx, kIy, kIt, kRight, kDown, kCross, kInverseU, kInverseV, kTargetU, kTargetV };

constexpr float kRelaxation = 1.8f;
constexpr float kEpsilonSquared = 1e-4f;   // of the robust function, grey levels and pixels
constexpr float kContrastSquared = 1.0f;   // gradients below this count less
constexpr float kDataWeight = 5.0f;

// The target frame at each pixel's displaced place; where that is outside, `warped` repeats the
// template's pixel times zero below through `inside`.
static inline F8 warp(const Plane& to, I8 x, int y, F8 u, F8 v, F8* inside) {
  const F8 wanted_x = to_float(x) + u, wanted_y = f8(static_cast<float>(y)) + v;
  const F8 last_x = f8(static_cast<float>(to.width - 1)), last_y = f8(static_cast<float>(to.height - 1));
  const F8 px = min(max(wanted_x, f8(0)), last_x), py = min(max(wanted_y, f8(0)), last_y);
  *inside = at_most(abs(px - wanted_x) + abs(py - wanted_y), f8(0));
  return interpolate(to, corners_of(to, px, py));
}

static inline void warp_all(const RefineTask& task) {
  const Plane &warped = task.scratch.warped, &mean = task.scratch.mean;
  for (int y = 0; y < task.from.height; ++y) {
    for (int x = 0; x < task.from.width; x += 8) {
      const F8 own = load(row_of(task.from, y) + x);
      F8 inside;
      const F8 other = warp(task.to, iota() + i8(x), y, load(row_of(task.flow.u, y) + x),
                            load(row_of(task.flow.v, y) + x), &inside);
      store(row_of(mean, y) + x, (own + other) * f8(0.5f));
      // The difference in time, and no difference (with no gradient, below) outside the frame.
      store(row_of(warped, y) + x, other - own);
      store(task.scratch.field[kCross] + y * task.scratch.row + x - 8, inside);
    }
  }
  for (int y = 0; y < mean.height; ++y) {
    float* row = row_of(mean, y);
    row[-1] = row[0];
    row[mean.width] = row[mean.width - 1];
  }
  const size_t bytes = sizeof(float) * static_cast<size_t>(mean.width + 8);
  std::memcpy(row_of(mean, -1), row_of(mean, 0), bytes);
  std::memcpy(row_of(mean, mean.height), row_of(mean, mean.height - 1), bytes);
}

// The linearised brightness error of a pixel is Ix U + Iy V + It for a whole displacement (U, V).
static inline void linearise(const RefineTask& task) {
  const RefineScratch& s = task.scratch;
  const F8 half = f8(0.5f);
  const int width = task.from.width, height = task.from.height;
  for (int y = 0; y < height; ++y) {
    const float* mean = row_of(s.mean, y);
    const float *u_row = row_of(task.flow.u, y), *v_row = row_of(task.flow.v, y);
    const float* inside_row = s.field[kCross] + y * s.row - 8;
    F8 values[5][2];
    for (int x = 0; x < width; x += 16) {
      for (int part = 0; part < 2; ++part) {
        const int at = x + 8 * part;
        const F8 inside = at < width ? load(inside_row + at) : f8(0);
        const F8 ix = (load(mean + at + 1) - load(mean + at - 1)) * half * inside;
        const F8 iy = (load(mean + at + s.mean.stride) - load(mean + at - s.mean.stride)) * half * inside;
        const F8 u = load(u_row + at), v = load(v_row + at);
        values[0][part] = u;
        values[1][part] = v;
        values[2][part] = ix;
        values[3][part] = iy;
        values[4][part] = load(row_of(s.warped, y) + at) * inside - ix * u - iy * v;
      }
      for (int field = 0; field < 5; ++field) {
        F8 even, odd;
        deinterleave(values[field][0], values[field][1], &even, &odd);
        float* out = s.field[kU + field] + y * s.row + x / 2;
        store(out, even);
        store(out + s.half, odd);
      }
    }
    // Columns past the edge must not act.
    const int padded = (width + 15) / 16 * 16;
    for (int x = width; x < padded; ++x)
      for (int field = kIx; field <= kIt; ++field)
        s.field[field][y * s.row + (x & 1) * s.half + x / 2] = 0;
  }
}

// A row's columns up to the last vector's end.
static inline int padded(int width) { return (width + 2 * kFloats - 1) / (2 * kFloats) * (2 * kFloats); }

static inline Floats robust(Floats squared) { return floats(1) / sqrt(squared + floats(kEpsilonSquared)); }

static inline void weigh_edges(const RefineTask& task, int y) {
  const RefineScratch& s = task.scratch;
  const int width = task.from.width, columns = (width + 1) / 2;
  const bool last = y + 1 == task.from.height;
  const Floats alpha = floats(task.smoothness), zero = floats(0);
  for (int parity = 0; parity < 2; ++parity) {
    const ptrdiff_t own = y * s.row + parity * s.half, beside = y * s.row + (parity ? 1 : s.half);
    const ptrdiff_t below = last ? own : own + s.row;
    const float *u = s.field[kU], *v = s.field[kV];
    float *right = s.field[kRight] + own, *down = s.field[kDown] + own;
    for (int i = 0; i < columns; i += kFloats) {
      const Floats own_u = load_floats(u + own + i), own_v = load_floats(v + own + i);
      const Floats ux = load_floats(u + beside + i) - own_u, uy = load_floats(u + below + i) - own_u;
      const Floats vx = load_floats(v + beside + i) - own_v, vy = load_floats(v + below + i) - own_v;
      const Floats weight = alpha * robust(ux * ux + uy * uy + vx * vx + vy * vy);
      store(right + i, weight);
      store(down + i, last ? zero : weight);
    }
  }
  // No edge leaves the frame.
  for (int x = width - 1; x < padded(width); ++x) {
    const ptrdiff_t at = y * s.row + (x & 1) * s.half + x / 2;
    s.field[kRight][at] = 0;
    if (x >= width) s.field[kDown][at] = 0;
  }
}

static inline void assemble(const RefineTask& task, int y) {
  const RefineScratch& s = task.scratch;
  const int columns = (task.from.width + 1) / 2;
  const Floats one = floats(1), tiny = floats(1e-6f);
  for (int parity = 0; parity < 2; ++parity) {
    const ptrdiff_t own = y * s.row + parity * s.half;
    const float *right = s.field[kRight] + own, *down = s.field[kDown] + own;
    const float *left = s.field[kRight] + (parity ? y * s.row : own + s.half - 1), *up = down - s.row;
    const float *u = s.field[kU] + own, *v = s.field[kV] + own;
    const float *gx = s.field[kIx] + own, *gy = s.field[kIy] + own, *gt = s.field[kIt] + own;
    float *cross = s.field[kCross] + own;
    float *inverse_u = s.field[kInverseU] + own, *inverse_v = s.field[kInverseV] + own;
    float *target_u = s.field[kTargetU] + own, *target_v = s.field[kTargetV] + own;
    for (int i = 0; i < columns; i += kFloats) {
      const Floats ix = load_floats(gx + i), iy = load_floats(gy + i), it = load_floats(gt + i);
      const Floats e = ix * load_floats(u + i) + iy * load_floats(v + i) + it;
      // The error counts in pixels, as far as the gradient tells; the robust function's slope.
      const Floats contrast = ix * ix + iy * iy + floats(kContrastSquared);
      const Floats weight =
          floats(kDataWeight) / sqrt(contrast * (e * e + contrast * floats(kEpsilonSquared)));
      const Floats edges = load_floats(right + i) + load_floats(down + i) + load_floats(left + i) +
                           load_floats(up + i);
      store(cross + i, weight * ix * iy);
      const Floats total_u = weight * ix * ix + edges + tiny, total_v = weight * iy * iy + edges + tiny;
      const Floats inverse = one / (total_u * total_v);
      store(inverse_u + i, inverse * total_v);
      store(inverse_v + i, inverse * total_u);
      store(target_u + i, floats(0) - weight * ix * it);
      store(target_v + i, floats(0) - weight * iy * it);
    }
  }
}

// The weighted sum of a field's four neighbours.
static inline Floats around(const float* field, const float* left, ptrdiff_t row, Floats wl, Floats wr,
                            Floats wu, Floats wd) {
  return wl * load_floats(left) + wr * load_floats(left + 1) + wu * load_floats(field - row) +
         wd * load_floats(field + row);
}

static inline void relax_row(const RefineTask& task, int y, int colour) {
  const RefineScratch& s = task.scratch;
  const int columns = (task.from.width + 1) / 2, parity = (y + colour) & 1;
  const ptrdiff_t row = s.row, own = y * row + parity * s.half;
  const ptrdiff_t left = parity ? y * row : own + s.half - 1;
  const float *right_weight = s.field[kRight] + own, *left_weight = s.field[kRight] + left;
  const float *down_weight = s.field[kDown] + own, *up_weight = down_weight - row;
  const float *cross = s.field[kCross] + own;
  const float *inverse_u = s.field[kInverseU] + own, *inverse_v = s.field[kInverseV] + own;
  const float *target_u = s.field[kTargetU] + own, *target_v = s.field[kTargetV] + own;
  const float *left_u = s.field[kU] + left, *left_v = s.field[kV] + left;
  float *u = s.field[kU] + own, *v = s.field[kV] + own;
  const Floats omega = floats(kRelaxation);
  for (int i = 0; i < columns; i += kFloats) {
    const Floats wl = load_floats(left_weight + i), wr = load_floats(right_weight + i);
    const Floats wu = load_floats(up_weight + i), wd = load_floats(down_weight + i);
    const Floats old_u = load_floats(u + i), old_v = load_floats(v + i), mixed = load_floats(cross + i);
    const Floats around_u = around(u + i, left_u + i, row, wl, wr, wu, wd);
    const Floats around_v = around(v + i, left_v + i, row, wl, wr, wu, wd);
    const Floats best_u = (load_floats(target_u + i) + around_u - mixed * old_v) * load_floats(inverse_u + i);
    const Floats new_u = old_u + omega * (best_u - old_u);
    const Floats best_v = (load_floats(target_v + i) + around_v - mixed * new_u) * load_floats(inverse_v + i);
    store(u + i, new_u);
    store(v + i, old_v + omega * (best_v - old_v));
  }
}

static void refine(const RefineTask& task) {
  const RefineScratch& s = task.scratch;
  const int width = task.from.width, height = task.from.height;
  // What lies round the rows is read with weight zero, so it only has to be finite.
  for (float* field : s.field) {
    std::memset(field - s.row - 8, 0, sizeof(float) * static_cast<size_t>(s.row));
    std::memset(field + height * s.row - 8, 0, sizeof(float) * static_cast<size_t>(s.row));
  }
  warp_all(task);
  linearise(task);
  const int filled = (width + 15) / 16 * 8;
  for (int y = 0; y < height; ++y)
    for (float* field : s.field)
      for (int parity = 0; parity < 2; ++parity) {
        float* half = field + y * s.row + parity * s.half;
        std::memset(half - 8, 0, sizeof(float) * 8);
        std::memset(half + filled, 0, sizeof(float) * static_cast<size_t>(s.half - 8 - filled));
      }
  // All rounds go down the picture together, so that a row is in the cache for each: a round follows
  // where the one before it will change nothing any more. The same arithmetic as one after the other.
  const int lag = 2 * task.inner;
  for (int front = 0; front < height + lag * task.outer; ++front)
    for (int outer = 0; outer < task.outer; ++outer) {
      const int y = front - lag * outer;
      if (y >= 0 && y < height) {
        weigh_edges(task, y);
        assemble(task, y);
      }
      // A row's second colour needs only the first colour of its neighbours.
      for (int inner = 0; inner < task.inner; ++inner)
        for (int colour = 0; colour < 2; ++colour) {
          const int row = y - 2 * inner - colour;
          if (row >= 0 && row < height) relax_row(task, row, colour);
        }
    }
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; x += 16)
      for (int component = 0; component < 2; ++component) {
        const float* in = s.field[kU + component] + y * s.row + x / 2;
        float* out = row_of(component ? task.flow.v : task.flow.u, y) + x;
        F8 a, b;
        interleave(load(in), load(in + s.half), &a, &b);
        store(out, a);
        store(out + 8, b);
      }
  extend(task.flow.u);
  extend(task.flow.v);
}

// The flow of the next finer level: twice the size and twice the length.
static void double_flow(const Flow& source, const Flow& target) {
  const F8 near = f8(1.5f), far = f8(0.5f), three_quarters = f8(0.75f), quarter = f8(0.25f);
  const Plane* sources[2] = {&source.u, &source.v};
  const Plane* targets[2] = {&target.u, &target.v};
  for (int component = 0; component < 2; ++component) {
    const Plane &from = *sources[component], &to = *targets[component];
    for (int y = 0; y < to.height; ++y) {
      const float* row = row_of(from, y / 2);
      const ptrdiff_t other = y & 1 ? from.stride : -from.stride;
      for (int x = 0; x < (to.width + 1) / 2; x += 8) {
        F8 taps[3];
        for (int k = 0; k < 3; ++k)
          taps[k] = load(row + x + k - 1) * three_quarters + load(row + x + k - 1 + other) * quarter;
        F8 a, b;
        interleave(taps[1] * near + taps[0] * far, taps[1] * near + taps[2] * far, &a, &b);
        store(row_of(to, y) + 2 * x, a);
        store(row_of(to, y) + 2 * x + 8, b);
      }
    }
    extend(to);
  }
}
