// Sampling by blocks where the places lie side by side. Included inside a namespace that has the two
// ways of it.

static inline Block sample(const uint8_t* data, ptrdiff_t stride, const Spots& spots) {
  const int x = first(spots.x), y = first(spots.y);
  // Where motion is smooth most blocks stay blocks.
  if (all_equal(spots.x - iota16(), static_cast<int16_t>(x)) &&
      all_equal(spots.y, static_cast<int16_t>(y)))
    return sample_run(data + y * stride + 4 * static_cast<ptrdiff_t>(x), stride, spots.across,
                      spots.down);
  return sample_each(data, stride, spots);
}
