// Eight lanes in two NEON registers; see simd_scalar.h for what each operation means.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace edgesdk {
namespace neon {

struct F8 { float32x4_t lo, hi; };
struct I8 { int32x4_t lo, hi; };
struct S8 { int16x8_t v; };
struct Bytes16 { uint8x16_t v; };

static inline F8 load(const float* p) { return {vld1q_f32(p), vld1q_f32(p + 4)}; }
static inline void store(float* p, F8 a) {
  vst1q_f32(p, a.lo);
  vst1q_f32(p + 4, a.hi);
}
static inline F8 f8(float x) { return {vdupq_n_f32(x), vdupq_n_f32(x)}; }
static inline F8 operator+(F8 a, F8 b) { return {vaddq_f32(a.lo, b.lo), vaddq_f32(a.hi, b.hi)}; }
static inline F8 operator-(F8 a, F8 b) { return {vsubq_f32(a.lo, b.lo), vsubq_f32(a.hi, b.hi)}; }
static inline F8 operator*(F8 a, F8 b) { return {vmulq_f32(a.lo, b.lo), vmulq_f32(a.hi, b.hi)}; }
static inline F8 operator/(F8 a, F8 b) { return {vdivq_f32(a.lo, b.lo), vdivq_f32(a.hi, b.hi)}; }
// vminq and vmaxq hand NaN on; the comparison gives the second operand instead.
static inline F8 min(F8 a, F8 b) {
  return {vbslq_f32(vcltq_f32(a.lo, b.lo), a.lo, b.lo),
          vbslq_f32(vcltq_f32(a.hi, b.hi), a.hi, b.hi)};
}
static inline F8 max(F8 a, F8 b) {
  return {vbslq_f32(vcgtq_f32(a.lo, b.lo), a.lo, b.lo),
          vbslq_f32(vcgtq_f32(a.hi, b.hi), a.hi, b.hi)};
}
static inline F8 abs(F8 a) { return {vabsq_f32(a.lo), vabsq_f32(a.hi)}; }
static inline F8 sqrt(F8 a) { return {vsqrtq_f32(a.lo), vsqrtq_f32(a.hi)}; }
static inline F8 floor(F8 a) { return {vrndmq_f32(a.lo), vrndmq_f32(a.hi)}; }
static inline F8 at_most(F8 a, F8 b) {
  const float32x4_t one = vdupq_n_f32(1.0f), zero = vdupq_n_f32(0.0f);
  return {vbslq_f32(vcleq_f32(a.lo, b.lo), one, zero),
          vbslq_f32(vcleq_f32(a.hi, b.hi), one, zero)};
}
// `a` where its length is below the limit, else the limit: what is not a number, too.
static inline F8 bounded(F8 a, F8 limit) {
  return {vbslq_f32(vcltq_f32(vabsq_f32(a.lo), limit.lo), a.lo, limit.lo),
          vbslq_f32(vcltq_f32(vabsq_f32(a.hi), limit.hi), a.hi, limit.hi)};
}
static inline float sum(F8 a) {
  const float32x4_t s = vaddq_f32(a.lo, a.hi);
  const float32x2_t t = vadd_f32(vget_low_f32(s), vget_high_f32(s));
  return vget_lane_f32(t, 0) + vget_lane_f32(t, 1);
}
static inline F8 gather(const float* p, I8 index) {
  int32_t i[8];
  vst1q_s32(i, index.lo);
  vst1q_s32(i + 4, index.hi);
  const float v[8] = {p[i[0]], p[i[1]], p[i[2]], p[i[3]], p[i[4]], p[i[5]], p[i[6]], p[i[7]]};
  return load(v);
}
static inline void deinterleave(F8 a, F8 b, F8* even, F8* odd) {
  *even = {vuzp1q_f32(a.lo, a.hi), vuzp1q_f32(b.lo, b.hi)};
  *odd = {vuzp2q_f32(a.lo, a.hi), vuzp2q_f32(b.lo, b.hi)};
}
static inline void gather_pairs(const float* p, I8 index, F8* first, F8* second) {
  int32_t i[8];
  vst1q_s32(i, index.lo);
  vst1q_s32(i + 4, index.hi);
  const auto two = [&](int k) { return vcombine_f32(vld1_f32(p + i[k]), vld1_f32(p + i[k + 1])); };
  deinterleave({two(0), two(2)}, {two(4), two(6)}, first, second);
}
static inline void interleave(F8 even, F8 odd, F8* a, F8* b) {
  *a = {vzip1q_f32(even.lo, odd.lo), vzip2q_f32(even.lo, odd.lo)};
  *b = {vzip1q_f32(even.hi, odd.hi), vzip2q_f32(even.hi, odd.hi)};
}
static inline F8 load_halves(const float* low, const float* high) {
  return {vld1q_f32(low), vld1q_f32(high)};
}
static inline F8 f4_4(float low, float high) { return {vdupq_n_f32(low), vdupq_n_f32(high)}; }
static inline void halves(F8 a, F8 b, F8* low, F8* high) {
  *low = {a.lo, b.lo};
  *high = {a.hi, b.hi};
}

static inline I8 load(const int32_t* p) { return {vld1q_s32(p), vld1q_s32(p + 4)}; }
static inline I8 load_words(const uint8_t* p) {
  return {vreinterpretq_s32_u8(vld1q_u8(p)), vreinterpretq_s32_u8(vld1q_u8(p + 16))};
}
static inline void store(int32_t* p, I8 a) {
  vst1q_s32(p, a.lo);
  vst1q_s32(p + 4, a.hi);
}
static inline I8 i8(int32_t x) { return {vdupq_n_s32(x), vdupq_n_s32(x)}; }
static inline I8 iota() {
  const int32_t v[8] = {0, 1, 2, 3, 4, 5, 6, 7};
  return load(v);
}
static inline I8 operator+(I8 a, I8 b) { return {vaddq_s32(a.lo, b.lo), vaddq_s32(a.hi, b.hi)}; }
static inline I8 operator-(I8 a, I8 b) { return {vsubq_s32(a.lo, b.lo), vsubq_s32(a.hi, b.hi)}; }
static inline I8 operator*(I8 a, I8 b) { return {vmulq_s32(a.lo, b.lo), vmulq_s32(a.hi, b.hi)}; }
static inline I8 operator&(I8 a, I8 b) { return {vandq_s32(a.lo, b.lo), vandq_s32(a.hi, b.hi)}; }
static inline I8 min(I8 a, I8 b) { return {vminq_s32(a.lo, b.lo), vminq_s32(a.hi, b.hi)}; }
static inline I8 max(I8 a, I8 b) { return {vmaxq_s32(a.lo, b.lo), vmaxq_s32(a.hi, b.hi)}; }
template <int bits>
static inline I8 shift_right(I8 a) { return {vshrq_n_s32(a.lo, bits), vshrq_n_s32(a.hi, bits)}; }
template <int bits>
static inline I8 shift_left(I8 a) { return {vshlq_n_s32(a.lo, bits), vshlq_n_s32(a.hi, bits)}; }
static inline F8 to_float(I8 a) { return {vcvtq_f32_s32(a.lo), vcvtq_f32_s32(a.hi)}; }
static inline I8 to_int(F8 a) { return {vcvtq_s32_f32(a.lo), vcvtq_s32_f32(a.hi)}; }

static inline S8 load(const int16_t* p) { return {vld1q_s16(p)}; }
static inline void store(int16_t* p, S8 a) { vst1q_s16(p, a.v); }
static inline S8 operator+(S8 a, S8 b) { return {vaddq_s16(a.v, b.v)}; }
static inline S8 operator-(S8 a, S8 b) { return {vsubq_s16(a.v, b.v)}; }
static inline S8 multiply_rounded(S8 a, S8 b) { return {vqrdmulhq_s16(a.v, b.v)}; }
static inline S8 multiply_down(S8 a, S8 b) {
  return {vcombine_s16(vshrn_n_s32(vmull_s16(vget_low_s16(a.v), vget_low_s16(b.v)), 7),
                       vshrn_n_s32(vmull_high_s16(a.v, b.v), 7))};
}
static inline S8 add_saturated(S8 a, S8 b) { return {vqaddq_s16(a.v, b.v)}; }
static inline S8 load_channel(const uint8_t* rgb, int channel) {
  return {vreinterpretq_s16_u16(vmovl_u8(vld3_u8(rgb).val[channel]))};
}
static inline I8 widen(S8 a) { return {vmovl_s16(vget_low_s16(a.v)), vmovl_high_s16(a.v)}; }
static inline S8 narrow(I8 a) { return {vqmovn_high_s32(vqmovn_s32(a.lo), a.hi)}; }
static inline I8 widen_bytes(const uint8_t* p) {
  const int16x8_t wide = vreinterpretq_s16_u16(vmovl_u8(vld1_u8(p)));
  return {vmovl_s16(vget_low_s16(wide)), vmovl_high_s16(wide)};
}
static inline I8 widen_fours(const uint16_t* low, const uint16_t* high) {
  return {vreinterpretq_s32_u32(vmovl_u16(vld1_u16(low))),
          vreinterpretq_s32_u32(vmovl_u16(vld1_u16(high)))};
}
static inline S8 s8(int16_t x) { return {vdupq_n_s16(x)}; }
static inline S8 iota16() {
  const int16_t v[8] = {0, 1, 2, 3, 4, 5, 6, 7};
  return load(v);
}
static inline S8 operator&(S8 a, S8 b) { return {vandq_s16(a.v, b.v)}; }
static inline S8 min(S8 a, S8 b) { return {vminq_s16(a.v, b.v)}; }
static inline S8 max(S8 a, S8 b) { return {vmaxq_s16(a.v, b.v)}; }
template <int bits>
static inline S8 shift_right(S8 a) { return {vshrq_n_s16(a.v, bits)}; }
template <int bits>
static inline S8 shift_left(S8 a) { return {vshlq_n_s16(a.v, bits)}; }
static inline int first(S8 a) { return vgetq_lane_s16(a.v, 0); }
static inline int first(I8 a) { return vgetq_lane_s32(a.lo, 0); }
static inline bool all_equal(I8 a, int32_t x) {
  const int32x4_t wanted = vdupq_n_s32(x);
  return vminvq_u32(vandq_u32(vceqq_s32(a.lo, wanted), vceqq_s32(a.hi, wanted))) == 0xFFFFFFFF;
}
static inline void store_bytes(uint8_t* p, I8 a) {
  vst1_u8(p, vqmovun_s16(narrow(a).v));
}
static inline bool all_equal(S8 a, int16_t x) {
  return vminvq_u16(vceqq_s16(a.v, vdupq_n_s16(x))) == 0xFFFF;
}
static inline Bytes16 load_bytes(const uint8_t* p) { return {vld1q_u8(p)}; }
static inline S8 pick(S8 a, Bytes16 index) {
  return {vreinterpretq_s16_u8(vqtbl1q_u8(vreinterpretq_u8_s16(a.v), index.v))};
}

#include "simd_pairs.h"

struct Sum16 { uint16x8_t lo, hi; };
static inline Sum16 zero_sum() { return {vdupq_n_u16(0), vdupq_n_u16(0)}; }
static inline Sum16 add_weighted(Sum16 acc, const uint8_t* bytes, int weight) {
  const uint8x16_t b = vld1q_u8(bytes);
  const uint16_t w = static_cast<uint16_t>(weight);
  return {vmlaq_n_u16(acc.lo, vmovl_u8(vget_low_u8(b)), w),
          vmlaq_n_u16(acc.hi, vmovl_high_u8(b), w)};
}
static inline void store(uint16_t* p, Sum16 a) {
  vst1q_u16(p, a.lo);
  vst1q_u16(p + 8, a.hi);
}

// Two pixels in each register.
struct Block { int16x8_t v[4]; };
struct Spots { S8 x, y, across, down; };

// Positions of the bytes that repeat lanes 2 i and 2 i + 1 for the channels of two pixels: the lower
// byte alone, the upper byte alone, or both.
struct Spread { uint8_t low[4][8], high[4][8], both[4][16]; };
constexpr Spread make_spread() {
  Spread s = {};
  for (int i = 0; i < 4; ++i)
    for (int c = 0; c < 8; ++c) {
      const uint8_t at = static_cast<uint8_t>(2 * (2 * i + c / 4));
      s.low[i][c] = at;
      s.high[i][c] = static_cast<uint8_t>(at + 1);
      s.both[i][2 * c] = at;
      s.both[i][2 * c + 1] = static_cast<uint8_t>(at + 1);
    }
  return s;
}
// A constant of the compiler's: nothing of this file runs before the processor is known.
constexpr Spread spread = make_spread();

static inline int16x8_t spread_both(S8 lanes, int i) {
  return vreinterpretq_s16_u8(vqtbl1q_u8(vreinterpretq_u8_s16(lanes.v), vld1q_u8(spread.both[i])));
}
static inline int16x8_t blend_row(uint8x8_t left, uint8x8_t right, uint8x8_t left_weights,
                                  uint8x8_t right_weights) {
  return vreinterpretq_s16_u16(vmlal_u8(vmull_u8(left, left_weights), right, right_weights));
}
static inline int16x8_t lerp(int16x8_t a, int16x8_t b, int16x8_t fractions) {
  return vaddq_s16(a, vqrdmulhq_s16(vsubq_s16(b, a), fractions));
}

static inline Block sample_run(const uint8_t* top, ptrdiff_t stride, S8 across, S8 down) {
  Block r;
  const uint8x16_t weights = vreinterpretq_u8_s16(across.v);
  for (int i = 0; i < 4; ++i) {
    const uint8x8_t left = vqtbl1_u8(weights, vld1_u8(spread.low[i]));
    const uint8x8_t right = vqtbl1_u8(weights, vld1_u8(spread.high[i]));
    const uint8_t* p = top + 8 * i;
    r.v[i] = lerp(blend_row(vld1_u8(p), vld1_u8(p + 4), left, right),
                  blend_row(vld1_u8(p + stride), vld1_u8(p + stride + 4), left, right),
                  spread_both(down, i));
  }
  return r;
}
static inline Block sample_each(const uint8_t* data, ptrdiff_t stride, const Spots& spots) {
  int16_t x[8], y[8];
  store(x, spots.x);
  store(y, spots.y);
  Block r;
  const uint8x16_t weights = vreinterpretq_u8_s16(spots.across.v);
  for (int i = 0; i < 4; ++i) {
    const uint8_t* p = data + y[2 * i] * stride + 4 * x[2 * i];
    const uint8_t* q = data + y[2 * i + 1] * stride + 4 * x[2 * i + 1];
    // Left and right pixel of either; their left ones together, then their right ones.
    const uint32x2_t tp = vreinterpret_u32_u8(vld1_u8(p)), tq = vreinterpret_u32_u8(vld1_u8(q));
    const uint32x2_t bp = vreinterpret_u32_u8(vld1_u8(p + stride));
    const uint32x2_t bq = vreinterpret_u32_u8(vld1_u8(q + stride));
    const uint8x8_t left = vqtbl1_u8(weights, vld1_u8(spread.low[i]));
    const uint8x8_t right = vqtbl1_u8(weights, vld1_u8(spread.high[i]));
    r.v[i] = lerp(blend_row(vreinterpret_u8_u32(vzip1_u32(tp, tq)),
                            vreinterpret_u8_u32(vzip2_u32(tp, tq)), left, right),
                  blend_row(vreinterpret_u8_u32(vzip1_u32(bp, bq)),
                            vreinterpret_u8_u32(vzip2_u32(bp, bq)), left, right),
                  spread_both(spots.down, i));
  }
  return r;
}
#include "simd_runs.h"

static inline Block mix(const Block& a, const Block& b, S8 share) {
  Block r;
  for (int i = 0; i < 4; ++i) r.v[i] = lerp(a.v[i], b.v[i], spread_both(share, i));
  return r;
}
static inline Block block_of(S8 red, S8 green, S8 blue, S8 alpha) {
  const int16x8_t rg[2] = {vzip1q_s16(red.v, green.v), vzip2q_s16(red.v, green.v)};
  const int16x8_t ba[2] = {vzip1q_s16(blue.v, alpha.v), vzip2q_s16(blue.v, alpha.v)};
  Block r;
  for (int i = 0; i < 2; ++i) {
    const int32x4_t a = vreinterpretq_s32_s16(rg[i]), b = vreinterpretq_s32_s16(ba[i]);
    r.v[2 * i] = vreinterpretq_s16_s32(vzip1q_s32(a, b));
    r.v[2 * i + 1] = vreinterpretq_s16_s32(vzip2q_s32(a, b));
  }
  return r;
}
static inline void store(int16_t* p, const Block& a) {
  for (int i = 0; i < 4; ++i) vst1q_s16(p + 8 * i, a.v[i]);
}
static inline void store_rgba(uint8_t* out, const Block& a) {
  // vqrshrun rounds in full width, so nothing wraps; it equals add, shift and clamp.
  for (int i = 0; i < 4; ++i) vst1_u8(out + 8 * i, vqrshrun_n_s16(a.v[i], 5));
}
static inline void store_rgb(uint8_t* out, const Block& a) {
  uint8_t bytes[32];
  store_rgba(bytes, a);
  const uint8x8x4_t rgba = vld4_u8(bytes);
  vst3_u8(out, {{rgba.val[0], rgba.val[1], rgba.val[2]}});
}
static inline I8 difference(const uint8_t* bytes, const Block& a) {
  const int16x8_t colours = vreinterpretq_s16_u64(vdupq_n_u64(0x0000FFFFFFFFFFFF));
  int32x4_t sums[4];
  for (int i = 0; i < 4; ++i) {
    const int16x8_t own = vreinterpretq_s16_u16(vshll_n_u8(vld1_u8(bytes + 8 * i), 5));
    sums[i] = vpaddlq_s16(vandq_s16(vabsq_s16(vsubq_s16(own, a.v[i])), colours));
  }
  return {vpaddq_s32(sums[0], sums[1]), vpaddq_s32(sums[2], sums[3])};
}

#include "simd_wide.h"

}  // namespace neon
}  // namespace edgesdk
