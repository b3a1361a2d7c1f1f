// Eight lanes in AVX2; see simd_scalar.h for what each operation means.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace edgesdk {
namespace avx2 {

struct F8 { __m256 v; };
struct I8 { __m256i v; };
struct S8 { __m128i v; };
struct Bytes16 { __m128i v; };

static inline F8 load(const float* p) { return {_mm256_loadu_ps(p)}; }
static inline void store(float* p, F8 a) { _mm256_storeu_ps(p, a.v); }
static inline F8 f8(float x) { return {_mm256_set1_ps(x)}; }
static inline F8 operator+(F8 a, F8 b) { return {_mm256_add_ps(a.v, b.v)}; }
static inline F8 operator-(F8 a, F8 b) { return {_mm256_sub_ps(a.v, b.v)}; }
static inline F8 operator*(F8 a, F8 b) { return {_mm256_mul_ps(a.v, b.v)}; }
static inline F8 operator/(F8 a, F8 b) { return {_mm256_div_ps(a.v, b.v)}; }
static inline F8 min(F8 a, F8 b) { return {_mm256_min_ps(a.v, b.v)}; }
static inline F8 max(F8 a, F8 b) { return {_mm256_max_ps(a.v, b.v)}; }
static inline F8 abs(F8 a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)}; }
static inline F8 sqrt(F8 a) { return {_mm256_sqrt_ps(a.v)}; }
static inline F8 floor(F8 a) { return {_mm256_floor_ps(a.v)}; }
static inline F8 at_most(F8 a, F8 b) {
  return {_mm256_and_ps(_mm256_cmp_ps(a.v, b.v, _CMP_LE_OQ), _mm256_set1_ps(1.0f))};
}
// `a` where its length is below the limit, else the limit: what is not a number, too.
static inline F8 bounded(F8 a, F8 limit) {
  return {_mm256_blendv_ps(limit.v, a.v, _mm256_cmp_ps(abs(a).v, limit.v, _CMP_LT_OQ))};
}
static inline float sum(F8 a) {
  const __m128 s = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  const __m128 t = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(t, _mm_shuffle_ps(t, t, 1)));
}
static inline F8 gather(const float* p, I8 index) {
  return {_mm256_i32gather_ps(p, index.v, 4)};
}
static inline void deinterleave(F8 a, F8 b, F8* even, F8* odd) {
  const __m256 low = _mm256_permute2f128_ps(a.v, b.v, 0x20);
  const __m256 high = _mm256_permute2f128_ps(a.v, b.v, 0x31);
  even->v = _mm256_shuffle_ps(low, high, 0x88);
  odd->v = _mm256_shuffle_ps(low, high, 0xDD);
}
static inline void interleave(F8 even, F8 odd, F8* a, F8* b) {
  const __m256 low = _mm256_unpacklo_ps(even.v, odd.v);
  const __m256 high = _mm256_unpackhi_ps(even.v, odd.v);
  a->v = _mm256_permute2f128_ps(low, high, 0x20);
  b->v = _mm256_permute2f128_ps(low, high, 0x31);
}

static inline I8 load(const int32_t* p) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))};
}
static inline void store(int32_t* p, I8 a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.v);
}
static inline I8 i8(int32_t x) { return {_mm256_set1_epi32(x)}; }
static inline I8 iota() { return {_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)}; }
static inline I8 operator+(I8 a, I8 b) { return {_mm256_add_epi32(a.v, b.v)}; }
static inline I8 operator-(I8 a, I8 b) { return {_mm256_sub_epi32(a.v, b.v)}; }
static inline I8 operator*(I8 a, I8 b) { return {_mm256_mullo_epi32(a.v, b.v)}; }
static inline I8 operator&(I8 a, I8 b) { return {_mm256_and_si256(a.v, b.v)}; }
static inline I8 min(I8 a, I8 b) { return {_mm256_min_epi32(a.v, b.v)}; }
static inline I8 max(I8 a, I8 b) { return {_mm256_max_epi32(a.v, b.v)}; }
template <int bits>
static inline I8 shift_right(I8 a) { return {_mm256_srai_epi32(a.v, bits)}; }
template <int bits>
static inline I8 shift_left(I8 a) { return {_mm256_slli_epi32(a.v, bits)}; }
static inline F8 to_float(I8 a) { return {_mm256_cvtepi32_ps(a.v)}; }
static inline I8 to_int(F8 a) { return {_mm256_cvttps_epi32(a.v)}; }

static inline __m128i load128(const void* p) {
  return _mm_loadu_si128(static_cast<const __m128i*>(p));
}
static inline S8 load(const int16_t* p) { return {load128(p)}; }
static inline void store(int16_t* p, S8 a) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), a.v); }
static inline S8 operator+(S8 a, S8 b) { return {_mm_add_epi16(a.v, b.v)}; }
static inline S8 operator-(S8 a, S8 b) { return {_mm_sub_epi16(a.v, b.v)}; }
static inline S8 multiply_rounded(S8 a, S8 b) { return {_mm_mulhrs_epi16(a.v, b.v)}; }
static inline I8 widen(S8 a) { return {_mm256_cvtepi16_epi32(a.v)}; }
static inline S8 narrow(I8 a) {
  return {_mm_packs_epi32(_mm256_castsi256_si128(a.v), _mm256_extracti128_si256(a.v, 1))};
}
static inline I8 widen_bytes(const uint8_t* p) {
  return {_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)))};
}
static inline S8 s8(int16_t x) { return {_mm_set1_epi16(x)}; }
static inline S8 iota16() { return {_mm_setr_epi16(0, 1, 2, 3, 4, 5, 6, 7)}; }
static inline S8 operator&(S8 a, S8 b) { return {_mm_and_si128(a.v, b.v)}; }
static inline S8 min(S8 a, S8 b) { return {_mm_min_epi16(a.v, b.v)}; }
static inline S8 max(S8 a, S8 b) { return {_mm_max_epi16(a.v, b.v)}; }
template <int bits>
static inline S8 shift_right(S8 a) { return {_mm_srai_epi16(a.v, bits)}; }
template <int bits>
static inline S8 shift_left(S8 a) { return {_mm_slli_epi16(a.v, bits)}; }
static inline int first(S8 a) { return static_cast<int16_t>(_mm_extract_epi16(a.v, 0)); }
static inline int first(I8 a) { return _mm_cvtsi128_si32(_mm256_castsi256_si128(a.v)); }
static inline bool all_equal(I8 a, int32_t x) {
  return _mm256_movemask_epi8(_mm256_cmpeq_epi32(a.v, _mm256_set1_epi32(x))) == -1;
}
static inline void store_bytes(uint8_t* p, I8 a) {
  const __m128i words = narrow(a).v;
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(words, words));
}
static inline bool all_equal(S8 a, int16_t x) {
  return _mm_movemask_epi8(_mm_cmpeq_epi16(a.v, _mm_set1_epi16(x))) == 0xFFFF;
}
static inline Bytes16 load_bytes(const uint8_t* p) { return {load128(p)}; }
static inline S8 pick(S8 a, Bytes16 index) { return {_mm_shuffle_epi8(a.v, index.v)}; }

struct Sum16 { __m256i v; };
static inline Sum16 zero_sum() { return {_mm256_setzero_si256()}; }
static inline Sum16 add_weighted(Sum16 acc, const uint8_t* bytes, int weight) {
  const __m256i wide = _mm256_cvtepu8_epi16(load128(bytes));
  const __m256i product =
      _mm256_mullo_epi16(wide, _mm256_set1_epi16(static_cast<short>(weight)));
  return {_mm256_add_epi16(acc.v, product)};
}
static inline void store(uint16_t* p, Sum16 a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.v);
}

// The two pixels of each half: 0, 1 and 4, 5; then 2, 3 and 6, 7. Unpacking and packing of bytes
// lead to and from this order without a permutation.
struct Block { __m256i first, second; };
struct Spots { S8 x, y, across, down; };

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
static inline __m256i load256(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
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

static inline Block mix(const Block& a, const Block& b, S8 share) {
  const __m256i both = both_halves(share, share);
  return {lerp(a.first, b.first, spread_first(both)), lerp(a.second, b.second, spread_second(both))};
}
static inline Block load_block(const int16_t* p) {
  const __m256i a = load256(p), b = load256(p + 16);
  return {_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31)};
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
  // Twelve bytes in each half, brought together: 24 bytes as one store of 16 and one of 8.
  const __m256i packed = _mm256_shuffle_epi8(
      to_bytes(a),
      _mm256_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1, 0, 1, 2, 4, 5, 6, 8,
                       9, 10, 12, 13, 14, -1, -1, -1, -1));
  const __m256i joined =
      _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 7, 7));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm256_castsi256_si128(joined));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(out + 16), _mm256_extracti128_si256(joined, 1));
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

}  // namespace avx2
}  // namespace edgesdk
