// One pass over the output: interpolate flow and weights, sample the painted key frames, blend, and
// fill what neither shows from the frame itself through the locally affine colour map.
//
// All integers, so every instruction set gives the same bytes. A fraction of kFull returns the
// second operand exactly for the differences that occur here (at most 2^14), so weights of nought
// and one leave pictures untouched.
#pragma once

enum RowField { kShiftAx, kShiftAy, kShiftBx, kShiftBy, kSecond, kCovered, kGain, kBias = kGain + 3, kRowFields = kBias + 3 };

static inline void blend_rows(const int16_t* upper, ptrdiff_t below, int16_t fraction, int width,
                              int16_t* out) {
  const S8 f = s8(fraction);
  for (int x = 0; x <= width; x += 8) {
    const S8 a = load(upper + x), b = load(upper + below + x);
    store(out + x, a + multiply_rounded(b - a, f));
  }
}

template <bool narrow>
static inline S16 across(const ColumnBlock& block, const int16_t* row) {
  S16 near, far;
  if (narrow) {
    const S8 columns = load(row + block.index[0]);
    near = pick(columns, load_wide_bytes(block.near));
    far = pick(columns, load_wide_bytes(block.far));
  } else {
    int16_t left[kBlock], right[kBlock];
    for (int i = 0; i < kBlock; ++i) {
      left[i] = row[block.index[i]];
      right[i] = row[block.index[i] + 1];
    }
    near = load_wide(left);
    far = load_wide(right);
  }
  return near + multiply_rounded(far - near, load_wide(block.fraction));
}

static inline WideSpots place(const RenderTask& task, S16 x, S16 y, S16 shift_x, S16 shift_y) {
  // One pixel of border lies round the picture, so the fractions beyond an edge do not matter.
  return wide_spots_of(min(max(x + shift_right<kFractionBits>(shift_x), s16(-1)),
                           s16(static_cast<int16_t>(task.width - 1))),
                       min(max(y + shift_right<kFractionBits>(shift_y), s16(-1)),
                           s16(static_cast<int16_t>(task.height - 1))),
                       shift_x, shift_y);
}

// Mix the affine colours of the frame into the sixteen blended pixels from `x` on; `covered` says how
// little.
template <bool narrow>
static inline void fill_holes(const RenderTask& task, const ColumnBlock& block, int16_t* const* rows,
                              int x, int y, S16 covered, WideBlock* pixels) {
  const int channels = task.original_channels, last = task.width - 1 - x;
  const uint8_t* row = task.original + y * task.original_stride + static_cast<ptrdiff_t>(x) * channels;
  uint8_t other[3 * kBlock];
  if (channels != 3 || last < kBlock - 1) {
    for (int i = 0; i < kBlock; ++i)
      for (int c = 0; c < 3; ++c)
        other[3 * i + c] = row[static_cast<ptrdiff_t>(i < last ? i : last) * channels + (channels == 1 ? 0 : c)];
    row = other;
  }
  const S16 white = s16(255 << kFractionBits);
  S16 colour[3];
  for (int c = 0; c < 3; ++c) {
    const S16 scaled = multiply_down(across<narrow>(block, rows[kGain + c]), load_wide_channel(row, c));
    const S16 mapped = add_saturated(scaled, across<narrow>(block, rows[kBias + c]));
    colour[c] = min(max(mapped, s16(0)), white);
  }
  *pixels = mix(*pixels, wide_block_of(colour[0], colour[1], colour[2], white), s16(kFull) - covered);
}

template <int channels>
static inline void store_block(const RenderTask& task, int x, uint8_t* row, const WideBlock& pixels) {
  uint8_t bytes[4 * kBlock];
  const int count = task.width - x < kBlock ? task.width - x : kBlock;
  uint8_t* out = count == kBlock ? row + static_cast<ptrdiff_t>(channels) * x : bytes;
  if (channels == 4) store_rgba(out, pixels);
  else store_rgb(out, pixels);
  if (count < kBlock)
    std::memcpy(row + static_cast<ptrdiff_t>(channels) * x, bytes,
                static_cast<size_t>(channels * count));
}

template <bool narrow, int channels>
static inline void render_row(const RenderTask& task, int y, int16_t* const* rows, bool holes) {
  uint8_t* out = task.output + y * task.output_stride;
  const bool has_a = task.a.data != nullptr, has_b = task.b.data != nullptr;
  const S16 down = s16(static_cast<int16_t>(y));
  for (int x = 0; x < task.width; x += kBlock) {
    const ColumnBlock& block = task.columns[x / kBlock];
    const S16 right = iota_wide() + s16(static_cast<int16_t>(x));
    const S16 share = has_a && has_b ? across<narrow>(block, rows[kSecond]) : s16(has_a ? 0 : kFull);
    const bool use_a = !all_equal(share, kFull), use_b = !all_equal(share, 0);
    WideBlock pixels = {};
    if (use_a)
      pixels = sample_at(task.a, place(task, right, down, across<narrow>(block, rows[kShiftAx]),
                                       across<narrow>(block, rows[kShiftAy])));
    if (use_b) {
      const WideBlock later =
          sample_at(task.b, place(task, right, down, across<narrow>(block, rows[kShiftBx]),
                                  across<narrow>(block, rows[kShiftBy])));
      pixels = use_a ? mix(pixels, later, share) : later;
    }
    if (holes) {
      const S16 covered = across<narrow>(block, rows[kCovered]);
      if (!all_equal(covered, kFull)) fill_holes<narrow>(task, block, rows, x, y, covered, &pixels);
    }
    store_block<channels>(task, x, out, pixels);
  }
}

template <bool narrow, int channels>
static void render_rows(const RenderTask& shared) {
  // A copy of our own: the output's bytes might otherwise be the task's, as far as one can tell.
  const RenderTask task = shared;
  const Fields& fields = task.fields;
  int16_t* rows[kRowFields];
  for (int i = 0; i < kRowFields; ++i) rows[i] = task.scratch + i * fields.stride;
  const int16_t* sources[kRowFields] = {
      fields.shift[0], fields.shift[1], fields.shift[2], fields.shift[3], fields.second,
      fields.covered,  task.affine.gain[0], task.affine.gain[1], task.affine.gain[2],
      task.affine.bias[0], task.affine.bias[1], task.affine.bias[2]};
  for (int y = task.row_begin; y < task.row_end; ++y) {
    const int upper = task.row_index[y];
    const int lower = upper + 1 < fields.height ? upper + 1 : upper;
    const bool holes = (fields.row_holes[upper] | fields.row_holes[lower]) != 0;
    const ptrdiff_t below = (lower - upper) * fields.stride;
    for (int i = 0; i < (holes ? kRowFields : kCovered); ++i)
      blend_rows(sources[i] + upper * fields.stride, below, task.row_fraction[y], fields.width,
                 rows[i]);
    render_row<narrow, channels>(task, y, rows, holes);
  }
}

static void render(const RenderTask& task) {
  if (task.narrow && task.output_channels == 4) render_rows<true, 4>(task);
  else if (task.narrow) render_rows<true, 3>(task);
  else if (task.output_channels == 4) render_rows<false, 4>(task);
  else render_rows<false, 3>(task);
}
