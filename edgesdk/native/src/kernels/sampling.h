// Bilinear samples of RGBA pictures at places in 1/32 pixel.
#pragma once

// Spots at whole places `x`, `y`, with the fractions that the lower bits of the other two hold.
static inline Spots spots_of(S8 x, S8 y, S8 fraction_x, S8 fraction_y) {
  const S8 right = fraction_x & s8(kOne - 1);
  // 32 - right in the lower byte, right in the upper one.
  return {x, y, shift_left<8>(right) - right + s8(kOne),
          shift_left<10>(fraction_y & s8(kOne - 1))};
}

// Sixteen of them.
static inline WideSpots wide_spots_of(S16 x, S16 y, S16 fraction_x, S16 fraction_y) {
  const S16 right = fraction_x & s16(kOne - 1);
  return {x, y, shift_left<8>(right) - right + s16(kOne),
          shift_left<10>(fraction_y & s16(kOne - 1))};
}

static inline WideBlock sample_at(const Picture& picture, const WideSpots& spots) {
  const int x = first(low_half(spots.x)), y = first(low_half(spots.y));
  // What the output's next rows will want: two pictures and their rows are more streams than
  // processors foresee by themselves.
  __builtin_prefetch(row_of(picture, y) + 4 * static_cast<ptrdiff_t>(x) + 3 * picture.stride);
  return sample_wide(picture.data, picture.stride, spots);
}
