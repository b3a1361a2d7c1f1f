// Eight pixels in one AVX-512 register; see simd_scalar.h for what each operation means.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace edgesdk {
namespace avx512 {

#include "simd_avx2_lanes.h"

// As many numbers as a register holds, where all are treated alike.
struct Floats { __m512 v; };
constexpr int kFloats = 16;
static inline Floats load_floats(const float* p) { return {_mm512_loadu_ps(p)}; }
static inline void store(float* p, Floats a) { _mm512_storeu_ps(p, a.v); }
static inline Floats floats(float x) { return {_mm512_set1_ps(x)}; }
static inline Floats operator+(Floats a, Floats b) { return {_mm512_add_ps(a.v, b.v)}; }
static inline Floats operator-(Floats a, Floats b) { return {_mm512_sub_ps(a.v, b.v)}; }
static inline Floats operator*(Floats a, Floats b) { return {_mm512_mul_ps(a.v, b.v)}; }
static inline Floats operator/(Floats a, Floats b) { return {_mm512_div_ps(a.v, b.v)}; }
static inline Floats sqrt(Floats a) { return {_mm512_sqrt_ps(a.v)}; }

// Four channels of eight pixels, one after the other.
struct Block { __m512i v; };

// Which byte each byte of a register takes.
struct alignas(64) Places {
  uint8_t byte[64] = {};
  __m512i load() const { return _mm512_load_si512(byte); }
};
// Eight lanes from `first` on, each four times for the channels of its pixel.
static constexpr Places spreading(int first) {
  Places places;
  for (int i = 0; i < 64; ++i) places.byte[i] = static_cast<uint8_t>(2 * (first + i / 8) + i % 2);
  return places;
}
static constexpr Places kSpreadLow = spreading(0), kSpreadHigh = spreading(8);
static inline __m512i spread(S8 lanes) {
  return _mm512_permutexvar_epi8(kSpreadLow.load(), _mm512_castsi128_si512(lanes.v));
}
static inline __m512i spread_low(S16 lanes) {
  return _mm512_permutexvar_epi8(kSpreadLow.load(), _mm512_castsi256_si512(lanes.v));
}
static inline __m512i spread_high(S16 lanes) {
  return _mm512_permutexvar_epi8(kSpreadHigh.load(), _mm512_castsi256_si512(lanes.v));
}
static inline __m512i lerp(__m512i a, __m512i b, __m512i fractions) {
  return _mm512_add_epi16(a, _mm512_mulhrs_epi16(_mm512_sub_epi16(b, a), fractions));
}
// Left and right pixel of every place lie one after the other.
static inline __m512i blend_across(__m512i places, __m512i weights) {
  // Side by side for each channel, so that one multiply-add blends them.
  const __m512i pairs = _mm512_shuffle_epi8(
      places, _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15)));
  return _mm512_maddubs_epi16(pairs, weights);
}
static inline Block blend(__m512i top, __m512i below, __m512i across, __m512i down) {
  return {lerp(blend_across(top, across), blend_across(below, across), down)};
}

// Gathers need no branch that processors foresee wrongly.
static inline Block sample(const uint8_t* data, ptrdiff_t stride, const Spots& spots) {
  const __m256i rows = _mm256_mullo_epi32(_mm256_cvtepi16_epi32(spots.y.v),
                                          _mm256_set1_epi32(static_cast<int>(stride)));
  const __m256i columns = _mm256_slli_epi32(_mm256_cvtepi16_epi32(spots.x.v), 2);
  const __m256i offsets = _mm256_add_epi32(rows, columns);
  return blend(_mm512_i32gather_epi64(offsets, data, 1),
               _mm512_i32gather_epi64(offsets, data + stride, 1), spread(spots.across),
               spread(spots.down));
}

static inline Block mix(const Block& a, const Block& b, S8 share) {
  return {lerp(a.v, b.v, spread(share))};
}
static inline void store(int16_t* p, const Block& a) { _mm512_storeu_si512(p, a.v); }
static inline __m256i to_bytes(const Block& a) {
  const __m512i levels = _mm512_srai_epi16(_mm512_add_epi16(a.v, _mm512_set1_epi16(16)), 5);
  return _mm512_cvtusepi16_epi8(_mm512_max_epi16(levels, _mm512_setzero_si512()));
}
static inline void store_rgba(uint8_t* out, const Block& a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), to_bytes(a));
}
static inline void store_rgb(uint8_t* out, const Block& a) {
  store_three_of_four(out, to_bytes(a));
}
static inline I8 difference(const uint8_t* bytes, const Block& a) {
  const __m512i colours = _mm512_set1_epi64(0x0000000100010001);
  const __m512i levels = _mm512_slli_epi16(_mm512_cvtepu8_epi16(load256(bytes)), 5);
  const __m512i sums =
      _mm512_madd_epi16(_mm512_abs_epi16(_mm512_sub_epi16(levels, a.v)), colours);
  return {_mm512_cvtepi64_epi32(_mm512_add_epi32(sums, _mm512_srli_epi64(sums, 32)))};
}

// Sixteen pixels.
struct WideBlock { Block lower, upper; };
struct WideSpots { S16 x, y, across, down; };

static inline WideBlock sample_wide(const uint8_t* data, ptrdiff_t stride, const WideSpots& spots) {
  // In pixels, so that a row's length fits the 16 bits that are multiplied.
  const __m512i row = _mm512_set1_epi32(static_cast<int>(stride / 4) & 0xFFFF);
  const __m512i offsets = _mm512_add_epi32(_mm512_madd_epi16(_mm512_cvtepi16_epi32(spots.y.v), row),
                                           _mm512_cvtepi16_epi32(spots.x.v));
  const __m256i low = _mm512_castsi512_si256(offsets), high = _mm512_extracti64x4_epi64(offsets, 1);
  const uint8_t* below = data + stride;
  return {blend(_mm512_i32gather_epi64(low, data, 4), _mm512_i32gather_epi64(low, below, 4),
                spread_low(spots.across), spread_low(spots.down)),
          blend(_mm512_i32gather_epi64(high, data, 4), _mm512_i32gather_epi64(high, below, 4),
                spread_high(spots.across), spread_high(spots.down))};
}
static inline WideBlock mix(const WideBlock& a, const WideBlock& b, S16 share) {
  return {{lerp(a.lower.v, b.lower.v, spread_low(share))},
          {lerp(a.upper.v, b.upper.v, spread_high(share))}};
}

static inline WideBlock wide_block_of(S16 red, S16 green, S16 blue, S16 alpha) {
  const auto lanes = [](__m256i a, __m256i b) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_unpacklo_epi32(a, b)),
                              _mm256_unpackhi_epi32(a, b), 1);
  };
  // Two pixels of the lower eight, two of the upper eight, and so on; the third and fourth of each.
  const __m512i near = lanes(_mm256_unpacklo_epi16(red.v, green.v), _mm256_unpacklo_epi16(blue.v, alpha.v));
  const __m512i far = lanes(_mm256_unpackhi_epi16(red.v, green.v), _mm256_unpackhi_epi16(blue.v, alpha.v));
  return {{_mm512_shuffle_i64x2(near, far, _MM_SHUFFLE(2, 0, 2, 0))},
          {_mm512_shuffle_i64x2(near, far, _MM_SHUFFLE(3, 1, 3, 1))}};
}

// Bytes of sixteen pixels as packing leaves them: two of the lower and two of the upper eight in turns.
template <int channels>
static constexpr Places unpacking() {
  Places places;
  for (int i = 0; i < 16 * channels; ++i) {
    const int pixel = i / channels, lane = pixel % 8 / 2;
    places.byte[i] = static_cast<uint8_t>(16 * lane + pixel / 8 * 8 + pixel % 2 * 4 + i % channels);
  }
  return places;
}
static constexpr Places kRgba = unpacking<4>(), kRgb = unpacking<3>();
static inline __m512i packed_bytes(const WideBlock& a) {
  const __m512i half = _mm512_set1_epi16(16);
  return _mm512_packus_epi16(_mm512_srai_epi16(_mm512_add_epi16(a.lower.v, half), 5),
                             _mm512_srai_epi16(_mm512_add_epi16(a.upper.v, half), 5));
}
static inline void store_rgba(uint8_t* out, const WideBlock& a) {
  _mm512_storeu_si512(out, _mm512_permutexvar_epi8(kRgba.load(), packed_bytes(a)));
}
static inline void store_rgb(uint8_t* out, const WideBlock& a) {
  _mm512_mask_storeu_epi8(out, 0xFFFFFFFFFFFF, _mm512_permutexvar_epi8(kRgb.load(), packed_bytes(a)));
}

}  // namespace avx512
}  // namespace edgesdk
