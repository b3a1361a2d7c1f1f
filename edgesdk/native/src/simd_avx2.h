// Eight pixels in two AVX2 registers; see simd_scalar.h for what each operation means.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace edgesdk {
namespace avx2 {

#include "simd_avx2_lanes.h"

// The two pixels of each half: 0, 1 and 4, 5; then 2, 3 and 6, 7. Unpacking and packing of bytes
// lead to and from this order without a permutation.
struct Block { __m256i first, second; };

// Positions of 16-bit lane `low` in every lane of the lower half, of `high` in the upper half.
#define EDGESDK_TWICE(x) 2 * (x), 2 * (x) + 1
#define EDGESDK_FOUR_TIMES(x) \
  EDGESDK_TWICE(x), EDGESDK_TWICE(x), EDGESDK_TWICE(x), EDGESDK_TWICE(x)
#define EDGESDK_SPREAD(low, high)                                      \
  _mm256_setr_epi8(EDGESDK_FOUR_TIMES(low), EDGESDK_FOUR_TIMES(low),   \
                   EDGESDK_FOUR_TIMES(high), EDGESDK_FOUR_TIMES(high))
// Of two pixels each: lanes `a`, `a` + 1 four times in the lower half, `b`, `b` + 1 in the upper.
#define EDGESDK_SPREAD_PAIRS(a, b)                                                            \
  _mm256_setr_epi8(EDGESDK_FOUR_TIMES(a), EDGESDK_FOUR_TIMES((a) + 1), EDGESDK_FOUR_TIMES(b), \
                   EDGESDK_FOUR_TIMES((b) + 1))

static inline __m256i both_halves(S8 low, S8 high) {
  return _mm256_inserti128_si256(_mm256_castsi128_si256(low.v), high.v, 1);
}
static inline __m128i load_two_rows(const uint8_t* top, const uint8_t* below) {
  const __m128i low = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(top));
  return _mm_castps_si128(
      _mm_loadh_pi(_mm_castsi128_ps(low), reinterpret_cast<const __m64*>(below)));
}
// Blended across: in each half the row above, then the row below.
static inline __m256i blend_across(const uint8_t* low, const uint8_t* high, ptrdiff_t stride,
                                   __m256i weights) {
  const __m256i rows = _mm256_inserti128_si256(
      _mm256_castsi128_si256(load_two_rows(low, low + stride)), load_two_rows(high, high + stride),
      1);
  // Left and right pixel of a channel side by side, so that one multiply-add blends them.
  const __m256i pairs = _mm256_shuffle_epi8(
      rows, _mm256_setr_epi8(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15, 0, 4, 1, 5, 2, 6,
                             3, 7, 8, 12, 9, 13, 10, 14, 11, 15));
  return _mm256_maddubs_epi16(pairs, weights);
}
// Two pixels in each half.
static inline __m256i blend_down(__m256i first, __m256i second, __m256i fractions) {
  const __m256i top = _mm256_unpacklo_epi64(first, second);
  const __m256i below = _mm256_unpackhi_epi64(first, second);
  return _mm256_add_epi16(top, _mm256_mulhrs_epi16(_mm256_sub_epi16(below, top), fractions));
}


// For each of the two pixels of either half, its own 16-bit lane.
static inline __m256i spread_first(__m256i both) {
  return _mm256_shuffle_epi8(both, EDGESDK_SPREAD_PAIRS(0, 4));
}
static inline __m256i spread_second(__m256i both) {
  return _mm256_shuffle_epi8(both, EDGESDK_SPREAD_PAIRS(2, 6));
}
static inline __m256i lerp(__m256i a, __m256i b, __m256i fractions) {
  return _mm256_add_epi16(a, _mm256_mulhrs_epi16(_mm256_sub_epi16(b, a), fractions));
}
static inline Block sample_run(const uint8_t* top, ptrdiff_t stride, S8 across, S8 down) {
  const __m256i weights = both_halves(across, across), fractions = both_halves(down, down);
  const __m256i first = spread_first(weights), second = spread_second(weights);
  const __m256i a = load256(top), b = load256(top + 4);
  const __m256i c = load256(top + stride), d = load256(top + stride + 4);
  return {lerp(_mm256_maddubs_epi16(_mm256_unpacklo_epi8(a, b), first),
               _mm256_maddubs_epi16(_mm256_unpacklo_epi8(c, d), first), spread_first(fractions)),
          lerp(_mm256_maddubs_epi16(_mm256_unpackhi_epi8(a, b), second),
               _mm256_maddubs_epi16(_mm256_unpackhi_epi8(c, d), second), spread_second(fractions))};
}

static inline Block sample_each(const uint8_t* data, ptrdiff_t stride, const Spots& spots) {
  const __m256i across = both_halves(spots.across, spots.across);
  const __m256i down = both_halves(spots.down, spots.down);
  alignas(32) int32_t offset[8];
  const __m256i rows = _mm256_mullo_epi32(_mm256_cvtepi16_epi32(spots.y.v),
                                          _mm256_set1_epi32(static_cast<int>(stride)));
  const __m256i columns = _mm256_slli_epi32(_mm256_cvtepi16_epi32(spots.x.v), 2);
  _mm256_store_si256(reinterpret_cast<__m256i*>(offset), _mm256_add_epi32(rows, columns));
#define EDGESDK_PAIR(i)                                                \
  blend_across(data + offset[i], data + offset[i + 4], stride,         \
               _mm256_shuffle_epi8(across, EDGESDK_SPREAD(i, (i) + 4)))
  return {blend_down(EDGESDK_PAIR(0), EDGESDK_PAIR(1), spread_first(down)),
          blend_down(EDGESDK_PAIR(2), EDGESDK_PAIR(3), spread_second(down))};
#undef EDGESDK_PAIR
}
#undef EDGESDK_SPREAD
#undef EDGESDK_SPREAD_PAIRS
#undef EDGESDK_FOUR_TIMES
#undef EDGESDK_TWICE

#include "simd_runs.h"

static inline Block mix(const Block& a, const Block& b, S8 share) {
  const __m256i both = both_halves(share, share);
  return {lerp(a.first, b.first, spread_first(both)), lerp(a.second, b.second, spread_second(both))};
}
static inline Block block_of(S8 red, S8 green, S8 blue, S8 alpha) {
  const __m256i rg = both_halves({_mm_unpacklo_epi16(red.v, green.v)}, {_mm_unpackhi_epi16(red.v, green.v)});
  const __m256i ba = both_halves({_mm_unpacklo_epi16(blue.v, alpha.v)}, {_mm_unpackhi_epi16(blue.v, alpha.v)});
  return {_mm256_unpacklo_epi32(rg, ba), _mm256_unpackhi_epi32(rg, ba)};
}
static inline void store(int16_t* p, const Block& a) {
  __m256i* out = reinterpret_cast<__m256i*>(p);
  _mm256_storeu_si256(out, _mm256_permute2x128_si256(a.first, a.second, 0x20));
  _mm256_storeu_si256(out + 1, _mm256_permute2x128_si256(a.first, a.second, 0x31));
}
static inline __m256i to_bytes(const Block& a) {
  const __m256i half = _mm256_set1_epi16(16);
  return _mm256_packus_epi16(_mm256_srai_epi16(_mm256_add_epi16(a.first, half), 5),
                             _mm256_srai_epi16(_mm256_add_epi16(a.second, half), 5));
}
static inline void store_rgba(uint8_t* out, const Block& a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), to_bytes(a));
}
static inline void store_rgb(uint8_t* out, const Block& a) {
  store_three_of_four(out, to_bytes(a));
}
static inline I8 difference(const uint8_t* bytes, const Block& a) {
  const __m256i raw = load256(bytes), zero = _mm256_setzero_si256();
  const __m256i colours = _mm256_set1_epi64x(0x0000000100010001);
  const __m256i first = _mm256_slli_epi16(_mm256_unpacklo_epi8(raw, zero), 5);
  const __m256i second = _mm256_slli_epi16(_mm256_unpackhi_epi8(raw, zero), 5);
  return {_mm256_hadd_epi32(
      _mm256_madd_epi16(_mm256_abs_epi16(_mm256_sub_epi16(first, a.first)), colours),
      _mm256_madd_epi16(_mm256_abs_epi16(_mm256_sub_epi16(second, a.second)), colours))};
}

#include "simd_wide.h"

}  // namespace avx2
}  // namespace edgesdk
