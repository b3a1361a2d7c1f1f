// Flows as callers hold them: taken over, and one continued by another.
#pragma once

// u and v of eight pixels of a flow whose components lie side by side.
struct Pairs {
  F8 u, v;
};
static inline Pairs load_pairs(const float* from) {
  Pairs pairs;
  deinterleave(load(from), load(from + 8), &pairs.u, &pairs.v);
  return pairs;
}
static inline void store_pairs(float* to, F8 u, F8 v) {
  F8 low, high;
  interleave(u, v, &low, &high);
  store(to, low);
  store(to + 8, high);
}
static inline Pairs pairs_at(const float* from, I8 index, bool run) {
  if (run) return load_pairs(from + first(index));
  Pairs pairs;
  gather_pairs(from, index, &pairs.u, &pairs.v);
  return pairs;
}

// Of eight pixels at (x, y); `in` and `out` hold sixteen floats.
static inline void join_block(const JoinTask& task, int x, int y, const float* in, float* out) {
  const F8 nowhere = f8(kNowhere), zero = f8(0);
  const Pairs step = load_pairs(in);
  const F8 u = bounded(step.u, nowhere), v = bounded(step.v, nowhere);
  const F8 lost = at_most(nowhere, max(u, v));
  // What has left the picture goes on like the border it left through.
  const F8 px = min(max(to_float(iota() + i8(x)) + u, zero), f8(static_cast<float>(task.width - 1)));
  const F8 py = min(max(f8(static_cast<float>(y)) + v, zero), f8(static_cast<float>(task.height - 1)));
  // Not the last column and row, so that the next ones exist.
  const I8 left = min(to_int(px), i8(task.width > 1 ? task.width - 2 : 0));
  const I8 top = min(to_int(py), i8(task.height > 1 ? task.height - 2 : 0));
  const F8 fx = px - to_float(left), fy = py - to_float(top);
  const I8 place = top * i8(static_cast<int>(task.second_stride)) + left + left;
  const bool run = all_equal(place - iota() - iota(), first(place));
  const float* upper = task.second;
  const float* lower = upper + (task.height > 1 ? task.second_stride : 0);
  const int next = task.width > 1 ? 2 : 0;
  const Pairs a = pairs_at(upper, place, run), b = pairs_at(upper + next, place, run);
  const Pairs c = pairs_at(lower, place, run), d = pairs_at(lower + next, place, run);
  const F8 near_u = a.u + (c.u - a.u) * fy, far_u = b.u + (d.u - b.u) * fy;
  const F8 near_v = a.v + (c.v - a.v) * fy, far_v = b.v + (d.v - b.v) * fy;
  const F8 found = f8(1) - lost, away = lost * nowhere;
  const F8 sum_u = bounded(u + (near_u + (far_u - near_u) * fx), nowhere);
  const F8 sum_v = bounded(v + (near_v + (far_v - near_v) * fx), nowhere);
  store_pairs(out, sum_u * found + away, sum_v * found + away);
}

static void join(const JoinTask& task) {
  for (int y = task.row_begin; y < task.row_end; ++y) {
    const float* in = task.first + y * task.first_stride;
    float* out = task.joined + y * task.joined_stride;
    int x = 0;
    for (; x + 8 <= task.width; x += 8) join_block(task, x, y, in + 2 * x, out + 2 * x);
    if (x == task.width) continue;
    // The caller's rows end with their last pixel.
    float block[16] = {}, joined[16];
    const size_t bytes = sizeof(float) * 2 * static_cast<size_t>(task.width - x);
    std::memcpy(block, in + 2 * x, bytes);
    join_block(task, x, y, block, joined);
    std::memcpy(out + 2 * x, joined, bytes);
  }
}

static inline void take_block(const float* in, float* u, float* v) {
  const F8 nowhere = f8(kNowhere);
  const Pairs step = load_pairs(in);
  const F8 x = bounded(step.u, nowhere), y = bounded(step.v, nowhere);
  const F8 lost = at_most(nowhere, max(x, y)), found = f8(1) - lost;
  store(u, x * found + lost * nowhere);
  store(v, y * found + lost * nowhere);
}

static void take_flow(const TakeFlowTask& task) {
  const int width = task.flow.u.width;
  for (int y = 0; y < task.flow.u.height; ++y) {
    const float* in = task.pairs + y * task.stride;
    float *u = row_of(task.flow.u, y), *v = row_of(task.flow.v, y);
    int x = 0;
    for (; x + 8 <= width; x += 8) take_block(in + 2 * x, u + x, v + x);
    if (x == width) continue;
    // The caller's rows end with their last pixel; those of a plane have a border.
    float block[16] = {};
    std::memcpy(block, in + 2 * x, sizeof(float) * 2 * static_cast<size_t>(width - x));
    take_block(block, u + x, v + x);
  }
  extend(task.flow.u);
  extend(task.flow.v);
}
