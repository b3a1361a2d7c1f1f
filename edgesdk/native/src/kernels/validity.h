// Which pixels of the frame a key frame shows (forward-backward check) and how well it does
// (photometric residual); and both, with the flow, as the integers the renderer interpolates.
#pragma once

static void judge(const ValidityTask& task) {
  const Plane &fu = task.forward.u, &fv = task.forward.v;
  const Plane &bu = task.backward.u, &bv = task.backward.v;
  const int width = fu.width;
  const F8 zero = f8(0);
  const F8 last_x = f8(static_cast<float>(width - 1));
  const F8 last_y = f8(static_cast<float>(fu.height - 1));
  for (int y = task.row_begin; y < task.row_end; ++y) {
    uint8_t* valid = task.valid + y * task.stride;
    uint8_t* residual = task.residual + y * task.stride;
    const uint8_t* frame = row_of(task.frame, y);
    for (int x = 0; x < width; x += 8) {
      const F8 u = load(row_of(fu, y) + x), v = load(row_of(fv, y) + x);
      const F8 wanted_x = to_float(iota() + i8(x)) + u, wanted_y = f8(static_cast<float>(y)) + v;
      const F8 px = min(max(wanted_x, zero), last_x), py = min(max(wanted_y, zero), last_y);
      const Corners at = corners_of(bu, px, py);
      const F8 back[2] = {interpolate(bu, at), interpolate(bv, at)};
      const F8 du = u + back[0], dv = v + back[1];
      const F8 lengths = u * u + v * v + back[0] * back[0] + back[1] * back[1];
      const F8 agrees = at_most(du * du + dv * dv, f8(task.slope) * lengths + f8(task.offset));
      const F8 inside = at_most(abs(px - wanted_x) + abs(py - wanted_y), zero);
      const F8 followed = at_most(max(abs(u) - f8(task.largest_u), abs(v) - f8(task.largest_v)), zero);
      const F8 good = agrees * inside * followed;
      store_bytes(valid + x, to_int(good));
      const S8 qx = narrow(to_int(floor(px * f8(kOne) + f8(0.5f))));
      const S8 qy = narrow(to_int(floor(py * f8(kOne) + f8(0.5f))));
      const Block seen = sample(
          task.key.data, task.key.stride,
          spots_of(shift_right<kFractionBits>(qx), shift_right<kFractionBits>(qy), qx, qy));
      // A third of the sum, to whole levels.
      const I8 mean = difference(frame + 4 * x, seen) * i8(683) + i8(32768);
      store_bytes(residual + x, shift_right<16>(mean));
    }
  }
}

static inline S8 to_fixed(F8 value, F8 scale, F8 limit) {
  const F8 scaled = min(max(value * scale, f8(0) - limit), limit);
  return narrow(to_int(floor(scaled + f8(0.5f))));
}

static inline F8 weight_of(const FieldsTask& task, const uint8_t* valid, const uint8_t* residual,
                           ptrdiff_t at, float share) {
  if (!valid) return f8(0);
  return to_float(widen_bytes(valid + at)) * f8(share) *
         gather(task.falloff, widen_bytes(residual + at));
}

static void make_fields(const FieldsTask& task) {
  const Fields& fields = task.fields;
  const F8 limit = f8(kLargestShift * kOne), full = f8(kFull), least = f8(1e-6f);
  const F8 scales[2] = {f8(task.scale_x * kOne), f8(task.scale_y * kOne)};
  const bool both = task.valid_a && task.valid_b;
  // With one key frame its place in time does not matter.
  const float share_a = both ? 1 - task.tau : 1, share_b = both ? task.tau : 1;
  for (int y = task.row_begin; y < task.row_end; ++y) {
    S8 lowest = s8(kFull);
    for (int x = 0; x < fields.width; x += 8) {
      const ptrdiff_t in = y * task.stride + x, out = y * fields.stride + x;
      const F8 a = weight_of(task, task.valid_a, task.residual_a, in, share_a);
      const F8 b = weight_of(task, task.valid_b, task.residual_b, in, share_b);
      const F8 total = a + b;
      const F8 hole = at_most(total, least);
      // Where nothing is visible the nearer key frame is the one the neighbours blend with.
      const F8 guess = f8(!task.valid_a || (task.valid_b && task.tau > 0.5f) ? 1.0f : 0.0f);
      const F8 second = hole * guess + (f8(1) - hole) * (b / max(total, least));
      store(fields.second + out, narrow(to_int(floor(second * full + f8(0.5f)))));
      const S8 covered = narrow(to_int((f8(1) - hole) * full));
      store(fields.covered + out, covered);
      for (int i = 0; i < fields.width - x && i < 8; ++i)
        if (fields.covered[out + i] == 0) lowest = s8(0);
      const Plane* planes[4] = {&task.to_a.u, &task.to_a.v, &task.to_b.u, &task.to_b.v};
      for (int k = 0; k < 4; ++k) {
        if (!(k < 2 ? task.valid_a : task.valid_b)) continue;
        store(fields.shift[k] + out, to_fixed(load(row_of(*planes[k], y) + x), scales[k & 1], limit));
      }
    }
    fields.row_holes[y] = all_equal(lowest, kFull) ? 0 : 1;
    // A column that repeats the last one, for the interpolation at the right edge.
    int16_t* rows[6] = {fields.shift[0], fields.shift[1], fields.shift[2],
                        fields.shift[3], fields.second,   fields.covered};
    for (int16_t* row : rows) {
      int16_t* end = row + y * fields.stride + fields.width;
      *end = end[-1];
    }
  }
}
