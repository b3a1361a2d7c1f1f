// Eight pixels in one AVX-512 register; see simd_scalar.h for what each operation means.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace edgesdk {
namespace avx512 {

#include "simd_avx2_lanes.h"

// Four channels of eight pixels, one after the other.
struct Block { __m512i v; };

// Every lane four times, for the channels of its pixel.
static inline __m512i spread(S8 lanes) {
  const __m512i places = _mm512_set_epi64(
      0x0F0E0F0E0F0E0F0E, 0x0D0C0D0C0D0C0D0C, 0x0B0A0B0A0B0A0B0A, 0x0908090809080908,
      0x0706070607060706, 0x0504050405040504, 0x0302030203020302, 0x0100010001000100);
  return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(lanes.v), places);
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
static inline Block blend(__m512i top, __m512i below, S8 across, S8 down) {
  const __m512i weights = spread(across);
  return {lerp(blend_across(top, weights), blend_across(below, weights), spread(down))};
}

// Gathers need no branch that processors foresee wrongly.
static inline Block sample(const uint8_t* data, ptrdiff_t stride, const Spots& spots) {
  const __m256i rows = _mm256_mullo_epi32(_mm256_cvtepi16_epi32(spots.y.v),
                                          _mm256_set1_epi32(static_cast<int>(stride)));
  const __m256i columns = _mm256_slli_epi32(_mm256_cvtepi16_epi32(spots.x.v), 2);
  const __m256i offsets = _mm256_add_epi32(rows, columns);
  return blend(_mm512_i32gather_epi64(offsets, data, 1),
               _mm512_i32gather_epi64(offsets, data + stride, 1), spots.across, spots.down);
}

static inline Block mix(const Block& a, const Block& b, S8 share) {
  return {lerp(a.v, b.v, spread(share))};
}
static inline Block load_block(const int16_t* p) { return {_mm512_loadu_si512(p)}; }
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

}  // namespace avx512
}  // namespace edgesdk
