// Bilinear interpolation of planes.
#pragma once

// Eight places inside a plane.
struct Corners {
  I8 index;
  F8 fx, fy;
  bool run; // the eight lie side by side, so that loads replace gathers
};
static inline Corners corners_of(const Plane& plane, F8 x, F8 y) {
  const F8 ix = floor(x), iy = floor(y);
  const I8 index = to_int(iy) * i8(static_cast<int>(plane.stride)) + to_int(ix);
  return {index, x - ix, y - iy, all_equal(index - iota(), first(index))};
}
static inline F8 interpolate(const Plane& plane, const Corners& at) {
  const float *above = plane.data, *below = above + plane.stride;
  F8 a, b, c, d;
  if (at.run) {
    const int start = first(at.index);
    a = load(above + start);
    b = load(above + start + 1);
    c = load(below + start);
    d = load(below + start + 1);
  } else {
    a = gather(above, at.index);
    b = gather(above + 1, at.index);
    c = gather(below, at.index);
    d = gather(below + 1, at.index);
  }
  const F8 upper = a + (b - a) * at.fx, lower = c + (d - c) * at.fx;
  return upper + (lower - upper) * at.fy;
}
