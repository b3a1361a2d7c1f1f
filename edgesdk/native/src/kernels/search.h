// Dense inverse search: patches of the template are sought in the other frame by mean-normalised
// inverse compositional descent, then blended into a dense flow by how well each explains a pixel.
#pragma once

struct Hessian { float xx, xy, yy, sum_x, sum_y; };
// Of the difference d between the displaced picture and the template: sum of squares and
// projections on the gradients, all with the mean of d removed.
struct Match { float cost, bx, by; };

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

static inline Match match(const SearchTask& task, const Hessian& h, int x, int y, float u,
                          float v) {
  const Place place = place_of(task.to, static_cast<float>(x) + u, static_cast<float>(y) + v);
  const float* p = place.p;
  F8 left = load(p), upper = left + (load(p + 1) - left) * place.fx;
  F8 d1 = f8(0), d2 = f8(0), bx = f8(0), by = f8(0);
  for (int r = 0; r < kPatch; ++r) {
    p += task.to.stride;
    left = load(p);
    const F8 lower = left + (load(p + 1) - left) * place.fx;
    const F8 d = upper + (lower - upper) * place.fy - load(row_of(task.from.grey, y + r) + x);
    upper = lower;
    d1 = d1 + d;
    d2 = d2 + d * d;
    bx = bx + d * load(row_of(task.from.gx, y + r) + x);
    by = by + d * load(row_of(task.from.gy, y + r) + x);
  }
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

static inline void search_patch(const SearchTask& task, int column, int row, int direction) {
  const PatchGrid& grid = task.grid;
  const int at = row * grid.columns + column;
  const int x = patch_origin(column, grid.step, task.from.grey.width);
  const int y = patch_origin(row, grid.step, task.from.grey.height);
  const Hessian h = hessian_of(task.from, x, y);
  float u, v;
  if (direction > 0) {
    from_coarse(task, x, y, &u, &v);
  } else {
    u = grid.u[at];
    v = grid.v[at];
  }
  const float start_u = u, start_v = v;
  Match best = match(task, h, x, y, u, v);
  bool moved = direction > 0;
  const int beside = column - direction, above = row - direction;
  const int neighbours[2] = {
      beside >= 0 && beside < grid.columns ? at - direction : -1,
      above >= 0 && above < grid.rows ? at - direction * grid.columns : -1};
  for (int n : neighbours) {
    if (n < 0 || std::fabs(grid.u[n] - u) + std::fabs(grid.v[n] - v) < 0.05f) continue;
    const Match other = match(task, h, x, y, grid.u[n], grid.v[n]);
    if (!(other.cost < best.cost)) continue;
    best = other;
    u = grid.u[n];
    v = grid.v[n];
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
    const float far_u = u - start_u, far_v = v - start_v;
    if (direction > 0 && !(far_u * far_u + far_v * far_v <= kPatch * kPatch * 4.0f)) {
      u = start_u;
      v = start_v;
    }
  }
  grid.u[at] = u;
  grid.v[at] = v;
}

// Every pixel takes the mean of the displacements of the patches over it, weighted by how small
// the difference is that each leaves there.
static inline void densify(const SearchTask& task) {
  const Plane& shape = task.flow.u;
  const int width = shape.width, height = shape.height;
  float* sums[3];
  // The scratch has the planes' layout, so patches that hang over a small picture stay inside.
  for (int i = 0; i < 3; ++i) {
    sums[i] = task.sums[i];
    for (int y = 0; y < height + kPatch; ++y)
      std::memset(sums[i] + y * shape.stride, 0, sizeof(float) * static_cast<size_t>(width + kPatch));
  }
  const F8 one = f8(1);
  for (int row = 0; row < task.grid.rows; ++row) {
    for (int column = 0; column < task.grid.columns; ++column) {
      const int at = row * task.grid.columns + column;
      const int x = patch_origin(column, task.grid.step, width);
      const int y = patch_origin(row, task.grid.step, height);
      const F8 u = f8(task.grid.u[at]), v = f8(task.grid.v[at]);
      const Place place = place_of(task.to, static_cast<float>(x) + task.grid.u[at],
                                   static_cast<float>(y) + task.grid.v[at]);
      const float* p = place.p;
      F8 left = load(p), upper = left + (load(p + 1) - left) * place.fx;
      for (int r = 0; r < kPatch; ++r) {
        p += task.to.stride;
        left = load(p);
        const F8 lower = left + (load(p + 1) - left) * place.fx;
        const F8 d = upper + (lower - upper) * place.fy - load(row_of(task.from.grey, y + r) + x);
        upper = lower;
        const F8 weight = one / max(abs(d), one);
        const ptrdiff_t offset = (y + r) * shape.stride + x;
        store(sums[0] + offset, load(sums[0] + offset) + weight);
        store(sums[1] + offset, load(sums[1] + offset) + weight * u);
        store(sums[2] + offset, load(sums[2] + offset) + weight * v);
      }
    }
  }
  for (int y = 0; y < height; ++y) {
    float *u = row_of(task.flow.u, y), *v = row_of(task.flow.v, y);
    for (int x = 0; x < width; x += 8) {
      const ptrdiff_t offset = y * shape.stride + x;
      const F8 scale = one / max(load(sums[0] + offset), f8(1e-9f));
      store(u + x, load(sums[1] + offset) * scale);
      store(v + x, load(sums[2] + offset) * scale);
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
