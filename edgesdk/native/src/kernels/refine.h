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

static inline F8 robust(F8 squared) { return f8(1) / sqrt(squared + f8(kEpsilonSquared)); }

static inline void weigh_edges(const RefineTask& task) {
  const RefineScratch& s = task.scratch;
  const int width = task.from.width, height = task.from.height, columns = (width + 1) / 2;
  const F8 alpha = f8(task.smoothness);
  for (int y = 0; y < height; ++y) {
    for (int parity = 0; parity < 2; ++parity) {
      const ptrdiff_t own = y * s.row + parity * s.half;
      const ptrdiff_t right = y * s.row + (parity ? 1 : s.half);
      const ptrdiff_t down = y + 1 < height ? s.row : 0;
      for (int i = 0; i < columns; i += 8) {
        const F8 u = load(s.field[kU] + own + i), v = load(s.field[kV] + own + i);
        const F8 ux = load(s.field[kU] + right + i) - u, vx = load(s.field[kV] + right + i) - v;
        const F8 uy = load(s.field[kU] + own + down + i) - u;
        const F8 vy = load(s.field[kV] + own + down + i) - v;
        const F8 weight = alpha * robust(ux * ux + uy * uy + vx * vx + vy * vy);
        store(s.field[kRight] + own + i, weight);
        store(s.field[kDown] + own + i, weight);
      }
    }
    // No edge leaves the frame.
    for (int x = width - 1; x < (width + 15) / 16 * 16; ++x) {
      const ptrdiff_t at = y * s.row + (x & 1) * s.half + x / 2;
      s.field[kRight][at] = 0;
      if (x >= width) s.field[kDown][at] = 0;
    }
    if (y == height - 1)
      for (int parity = 0; parity < 2; ++parity)
        std::memset(s.field[kDown] + y * s.row + parity * s.half, 0,
                    sizeof(float) * static_cast<size_t>((columns + 7) / 8 * 8));
  }
}

static inline void assemble(const RefineTask& task) {
  const RefineScratch& s = task.scratch;
  const int columns = (task.from.width + 1) / 2;
  const F8 one = f8(1), tiny = f8(1e-6f);
  for (int y = 0; y < task.from.height; ++y) {
    for (int parity = 0; parity < 2; ++parity) {
      const ptrdiff_t own = y * s.row + parity * s.half;
      const ptrdiff_t left = parity ? y * s.row : y * s.row + s.half - 1;
      for (int i = 0; i < columns; i += 8) {
        const F8 ix = load(s.field[kIx] + own + i), iy = load(s.field[kIy] + own + i);
        const F8 it = load(s.field[kIt] + own + i);
        const F8 e = ix * load(s.field[kU] + own + i) + iy * load(s.field[kV] + own + i) + it;
        // The error counts in pixels, as far as the gradient tells; the robust function's slope.
        const F8 contrast = ix * ix + iy * iy + f8(kContrastSquared);
        const F8 weight =
            f8(kDataWeight) / sqrt(contrast * (e * e + contrast * f8(kEpsilonSquared)));
        const F8 edges = load(s.field[kRight] + own + i) + load(s.field[kDown] + own + i) +
                         load(s.field[kRight] + left + i) + load(s.field[kDown] + own - s.row + i);
        store(s.field[kCross] + own + i, weight * ix * iy);
        const F8 total_u = weight * ix * ix + edges + tiny, total_v = weight * iy * iy + edges + tiny;
        const F8 inverse = one / (total_u * total_v);
        store(s.field[kInverseU] + own + i, inverse * total_v);
        store(s.field[kInverseV] + own + i, inverse * total_u);
        store(s.field[kTargetU] + own + i, f8(0) - weight * ix * it);
        store(s.field[kTargetV] + own + i, f8(0) - weight * iy * it);
      }
    }
  }
}

static inline void relax_row(const RefineTask& task, int y, int colour) {
  const RefineScratch& s = task.scratch;
  const int columns = (task.from.width + 1) / 2, parity = (y + colour) & 1;
  const ptrdiff_t own = y * s.row + parity * s.half;
  const ptrdiff_t left = parity ? y * s.row : y * s.row + s.half - 1;
  const F8 omega = f8(kRelaxation);
  float *u = s.field[kU], *v = s.field[kV];
  for (int i = 0; i < columns; i += 8) {
    const ptrdiff_t at = own + i, l = left + i;
    const F8 wl = load(s.field[kRight] + l), wr = load(s.field[kRight] + at);
    const F8 wu = load(s.field[kDown] + at - s.row), wd = load(s.field[kDown] + at);
    const F8 old_u = load(u + at), old_v = load(v + at), cross = load(s.field[kCross] + at);
    const F8 around_u = wl * load(u + l) + wr * load(u + l + 1) + wu * load(u + at - s.row) +
                        wd * load(u + at + s.row);
    const F8 around_v = wl * load(v + l) + wr * load(v + l + 1) + wu * load(v + at - s.row) +
                        wd * load(v + at + s.row);
    const F8 best_u = (load(s.field[kTargetU] + at) + around_u - cross * old_v) *
                      load(s.field[kInverseU] + at);
    const F8 new_u = old_u + omega * (best_u - old_u);
    const F8 best_v = (load(s.field[kTargetV] + at) + around_v - cross * new_u) *
                      load(s.field[kInverseV] + at);
    store(u + at, new_u);
    store(v + at, old_v + omega * (best_v - old_v));
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
  for (int y = 0; y < height; ++y)
    for (float* field : s.field)
      for (int parity = 0; parity < 2; ++parity) {
        float* half = field + y * s.row + parity * s.half;
        std::memset(half - 8, 0, sizeof(float) * 8);
        std::memset(half + (width + 15) / 16 * 8, 0, sizeof(float) * 8);
      }
  for (int outer = 0; outer < task.outer; ++outer) {
    weigh_edges(task);
    assemble(task);
    for (int inner = 0; inner < task.inner; ++inner)
      // A row's second colour needs only the first colour of its neighbours: one pass does both.
      for (int y = 0; y <= height; ++y) {
        if (y < height) relax_row(task, y, 0);
        if (y > 0) relax_row(task, y - 1, 1);
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
