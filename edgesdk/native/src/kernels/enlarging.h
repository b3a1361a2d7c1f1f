// One row of a painting at full size: cubic, plus the original's own detail times the gain there.
#pragma once

// Painting and original side by side, so that one tap is one product for both.
static inline F8 cubic_of(const float* both, const Taps& taps) {
  const float* from = both + 8 * static_cast<ptrdiff_t>(taps.first);
  return f8(taps.cubic[0]) * load(from) + f8(taps.cubic[1]) * load(from + 8) +
         f8(taps.cubic[2]) * load(from + 16) + f8(taps.cubic[3]) * load(from + 24);
}

// Repeat the first and the last of `width` pixels twice on either side.
template <int floats>
static inline void repeat_ends(float* row, int width) {
  for (int i = 0; i < 2; ++i) {
    std::memcpy(row + floats * i, row + 2 * floats, floats * sizeof(float));
    std::memcpy(row + floats * (width + 2 + i), row + floats * (width + 1), floats * sizeof(float));
  }
}

static void enlarge(const EnlargeTask& task) {
  const Taps& down = task.down;
  const int small = task.small_width;
  float *both = task.both, *gains = task.gains;
  for (int x = 0; x < small; ++x) {
    F8 sum = f8(down.cubic[0]) * to_float(widen_bytes(task.rows[0] + 8 * x));
    for (int k = 1; k < 4; ++k) sum = sum + f8(down.cubic[k]) * to_float(widen_bytes(task.rows[k] + 8 * x));
    store(both + 8 * (x + 2), sum);
  }
  for (int x = 0; x < small; ++x) {
    float* gain = gains + 4 * (x + 2);
    for (int c = 0; c < 3; ++c) {
      const float a = task.gain[0][c][x], b = task.gain[1][c][x];
      gain[c] = (a + (b - a) * down.linear) * (1.0f / 4096);
    }
    gain[3] = 0;
  }
  repeat_ends<8>(both, small);
  repeat_ends<4>(gains, small);
  const F8 none = f8(0), most = f8(255), half = f8(0.5f);
  for (int x = 0; x < task.width; x += 2) {
    const Taps &p = task.across[x], &q = task.across[x + 1];
    F8 painted, guide;
    halves(cubic_of(both, p), cubic_of(both, q), &painted, &guide);
    const float *before = gains + 4 * (p.first + 1), *behind = gains + 4 * (q.first + 1);
    const F8 near = load_halves(before, behind), far = load_halves(before + 4, behind + 4);
    const F8 gain = near + (far - near) * f4_4(p.linear, q.linear);
    const F8 own = to_float(widen_bytes(task.pixels + 4 * x));
    const F8 value = painted + gain * (own - guide) + half;
    store_bytes(task.pixels + 4 * x, to_int(min(max(value, none), most)));
  }
}
