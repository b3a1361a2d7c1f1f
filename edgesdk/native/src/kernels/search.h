// Dense inverse search: patches of the template are sought in the other frame by mean-normalised
// inverse compositional descent, then blended into a dense flow by how well each explains a pixel.
#pragma once

constexpr float kPatchPixels = static_cast<float>(kPatch * kPatch);

static inline int patch_origin(int index, int step, int size) {
  const int last = size > kPatch ? size - kPatch : 0;
  return index * step < last ? index * step : last;
}

static inline Hessian hessian_of(const Level& level, int x, int y) {
  F8 xx = f8(0), xy = f8(0), yy = f8(0), sx = f8(0), sy = f8(0);
  for (int r = 0; r < kPatch; ++r) {
    const F8 gx = load(row_of(level.gx, y + r) + x), gy = load(row_of(level.gy, y + r) + x);
    xx = xx + gx * gx;
    xy = xy + gx * gy;
    yy = yy + gy * gy;
    sx = sx + gx;
    sy = sy + gy;
  }
  Hessian h = {sum(xx), sum(xy), sum(yy), sum(sx), sum(sy)};
  h.xx -= h.sum_x * h.sum_x / kPatchPixels;
  h.xy -= h.sum_x * h.sum_y / kPatchPixels;
  h.yy -= h.sum_y * h.sum_y / kPatchPixels;
  return h;
}

// Top left corner of a displaced patch, kept where the padding still covers it.
struct Place { const float* p; F8 fx, fy; };
static inline Place place_of(const Plane& plane, float x, float y) {
  x = clamped(x, -static_cast<float>(kPatch), static_cast<float>(plane.width));
  y = clamped(y, -static_cast<float>(kPatch), static_cast<float>(plane.height));
  const float ix = std::floor(x), iy = std::floor(y);
  return {row_of(plane, static_cast<int>(iy)) + static_cast<int>(ix), f8(x - ix), f8(y - iy)};
}

// Calls `use` with each row of a patch and the difference of the displaced picture from the template.
template <typename Use>
static inline void compare_rows(const SearchTask& task, int x, int y, float u, float v, Use use) {
  const Place place = place_of(task.to, static_cast<float>(x) + u, static_cast<float>(y) + v);
  const float* p = place.p;
  F8 left = load(p), upper = left + (load(p + 1) - left) * place.fx;
  for (int r = 0; r < kPatch; ++r) {
    p += task.to.stride;
    left = load(p);
    const F8 lower = left + (load(p + 1) - left) * place.fx;
    use(y + r, upper + (lower - upper) * place.fy - load(row_of(task.from.grey, y + r) + x));
    upper = lower;
  }
}

static inline Match match(const SearchTask& task, const Hessian& h, int x, int y, float u,
                          float v) {
  F8 d1 = f8(0), d2 = f8(0), bx = f8(0), by = f8(0);
  compare_rows(task, x, y, u, v, [&](int row, F8 d) {
    d1 = d1 + d;
    d2 = d2 + d * d;
    bx = bx + d * load(row_of(task.from.gx, row) + x);
    by = by + d * load(row_of(task.from.gy, row) + x);
  });
  const float mean = sum(d1) / kPatchPixels;
  return {sum(d2) - mean * mean * kPatchPixels, sum(bx) - mean * h.sum_x,
          sum(by) - mean * h.sum_y};
}

// Displacement at a patch's centre on the coarser level, in pixels of this one.
static inline void from_coarse(const SearchTask& task, int x, int y, float* u, float* v) {
  *u = *v = 0;
  if (!task.coarse.u.data) return;
  const Plane& cu = task.coarse.u;
  const float cx = clamped(0.5f * static_cast<float>(x) + 1.5f, 0.0f,
                           static_cast<float>(cu.width - 1));
  const float cy = clamped(0.5f * static_cast<float>(y) + 1.5f, 0.0f,
                           static_cast<float>(cu.height - 1));
  const int ix = static_cast<int>(cx), iy = static_cast<int>(cy);
  const float fx = cx - static_cast<float>(ix), fy = cy - static_cast<float>(iy);
  const Plane* planes[2] = {&cu, &task.coarse.v};
  float* out[2] = {u, v};
  for (int i = 0; i < 2; ++i) {
    const float* p = row_of(*planes[i], iy) + ix;
    const float *q = p + planes[i]->stride;
    const float upper = p[0] + (p[1] - p[0]) * fx, lower = q[0] + (q[1] - q[0]) * fx;
    *out[i] = 2 * (upper + (lower - upper) * fy);
  }
}

// Places that differ by less are one.
static inline bool near(const Patch& patch, float u, float v) {
  return std::fabs(patch.u - u) + std::fabs(patch.v - v) < 0.05f;
}

static inline void search_patch(const SearchTask& task, int column, int row, int direction) {
  const PatchGrid& grid = task.grid;
  Patch& patch = grid.patches[row * grid.columns + column];
  const Patch* neighbours[2] = {
      column - direction >= 0 && column - direction < grid.columns ? &patch - direction : nullptr,
      row - direction >= 0 && row - direction < grid.rows ? &patch - direction * grid.columns : nullptr};
  const int x = patch_origin(column, grid.step, task.from.grey.width);
  const int y = patch_origin(row, grid.step, task.from.grey.height);
  if (direction > 0) {
    patch.hessian = hessian_of(task.from, x, y);
    from_coarse(task, x, y, &patch.u, &patch.v);
    patch.match = match(task, patch.hessian, x, y, patch.u, patch.v);
  }
  const Patch start = patch;
  const Hessian& h = patch.hessian;
  float u = start.u, v = start.v;
  Match best = start.match;
  bool moved = direction > 0;
  for (const Patch* other : neighbours) {
    if (!other || near(*other, u, v)) continue;
    const Match there = match(task, h, x, y, other->u, other->v);
    if (!(there.cost < best.cost)) continue;
    best = there;
    u = other->u;
    v = other->v;
    moved = true;
  }
  const float determinant = h.xx * h.yy - h.xy * h.xy;
  // A patch without structure in both directions cannot be placed; its neighbours' will do.
  if (moved && determinant > 1.0f) {
    const float scale = 1 / determinant;
    for (int i = 0; i < task.iterations; ++i) {
      const float du = (h.yy * best.bx - h.xy * best.by) * scale;
      const float dv = (h.xx * best.by - h.xy * best.bx) * scale;
      const Match next = match(task, h, x, y, u - du, v - dv);
      if (!(next.cost < best.cost)) break;
      best = next;
      u -= du;
      v -= dv;
      if (du * du + dv * dv < 0.0004f) break;
    }
    const float far_u = u - start.u, far_v = v - start.v;
    if (direction > 0 && !(far_u * far_u + far_v * far_v <= kPatch * kPatch * 4.0f)) return;
  }
  patch.u = u;
  patch.v = v;
  patch.match = best;
}

// A patch's share in the sums of its pixels.
static inline void add_patch(const SearchTask& task, const Patch& patch, int x, int y) {
  const F8 one = f8(1), u = f8(patch.u), v = f8(patch.v);
  compare_rows(task, x, y, patch.u, patch.v, [&](int row, F8 d) {
    const F8 weight = one / max(abs(d), one);
    const ptrdiff_t offset = row * task.flow.u.stride + x;
    store(task.sums[0] + offset, load(task.sums[0] + offset) + weight);
    store(task.sums[1] + offset, load(task.sums[1] + offset) + weight * u);
    store(task.sums[2] + offset, load(task.sums[2] + offset) + weight * v);
  });
}

// Every pixel takes the mean of the displacements of the patches over it, weighted by how small
// the difference is that each leaves there.
static inline void densify(const SearchTask& task) {
  const int width = task.flow.u.width, height = task.flow.u.height;
  const ptrdiff_t stride = task.flow.u.stride;
  // Rows are cleared and divided as the patches come by, while they are in the cache. The scratch
  // has the planes' layout, so patches that hang over a small picture stay inside.
  int cleared = 0, done = 0;
  for (int row = 0; row < task.grid.rows; ++row) {
    const int y = patch_origin(row, task.grid.step, height);
    for (; cleared < y + kPatch; ++cleared)
      for (float* sums : task.sums)
        std::memset(sums + cleared * stride, 0, sizeof(float) * static_cast<size_t>(width + kPatch));
    for (int column = 0; column < task.grid.columns; ++column)
      add_patch(task, task.grid.patches[row * task.grid.columns + column],
                patch_origin(column, task.grid.step, width), y);
    const int next = row + 1 < task.grid.rows ? patch_origin(row + 1, task.grid.step, height) : height;
    for (; done < next; ++done) {
      float *u = row_of(task.flow.u, done), *v = row_of(task.flow.v, done);
      for (int x = 0; x < width; x += 8) {
        const ptrdiff_t offset = done * stride + x;
        const F8 scale = f8(1) / max(load(task.sums[0] + offset), f8(1e-9f));
        store(u + x, load(task.sums[1] + offset) * scale);
        store(v + x, load(task.sums[2] + offset) * scale);
      }
    }
  }
}

static void search(const SearchTask& task) {
  const PatchGrid& grid = task.grid;
  for (int row = 0; row < grid.rows; ++row)
    for (int column = 0; column < grid.columns; ++column) search_patch(task, column, row, 1);
  for (int row = grid.rows - 1; row >= 0; --row)
    for (int column = grid.columns - 1; column >= 0; --column)
      search_patch(task, column, row, -1);
  densify(task);
  extend(task.flow.u);
  extend(task.flow.v);
}
