// Eight lanes in portable C++: the reference the other instruction sets must equal bit for bit.
//
// F8 holds floats, I8 32-bit and S8 16-bit integers. Every operation is one IEEE or one integer
// operation a lane, and `sum` adds in one fixed order, so a kernel written with them gives the
// same bits wherever it runs (contraction to fused multiply-add is off in every build).
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace edgesdk {
namespace scalar {

struct F8 { float v[8]; };
struct I8 { int32_t v[8]; };
struct S8 { int16_t v[8]; };
struct Bytes16 { uint8_t v[16]; };

#define EDGESDK_LANES(type, expression) \
  type r;                               \
  for (int i = 0; i < 8; ++i) r.v[i] = (expression); \
  return r

static inline F8 load(const float* p) { F8 r; std::memcpy(&r, p, sizeof r); return r; }
static inline void store(float* p, F8 a) { std::memcpy(p, &a, sizeof a); }
static inline F8 f8(float x) { EDGESDK_LANES(F8, x); }
static inline F8 operator+(F8 a, F8 b) { EDGESDK_LANES(F8, a.v[i] + b.v[i]); }
static inline F8 operator-(F8 a, F8 b) { EDGESDK_LANES(F8, a.v[i] - b.v[i]); }
static inline F8 operator*(F8 a, F8 b) { EDGESDK_LANES(F8, a.v[i] * b.v[i]); }
static inline F8 operator/(F8 a, F8 b) { EDGESDK_LANES(F8, a.v[i] / b.v[i]); }
// The second operand where either is NaN, as SSE does: max(x, low) turns NaN into `low`.
static inline F8 min(F8 a, F8 b) { EDGESDK_LANES(F8, a.v[i] < b.v[i] ? a.v[i] : b.v[i]); }
static inline F8 max(F8 a, F8 b) { EDGESDK_LANES(F8, a.v[i] > b.v[i] ? a.v[i] : b.v[i]); }
static inline F8 abs(F8 a) { EDGESDK_LANES(F8, std::fabs(a.v[i])); }
static inline F8 sqrt(F8 a) { EDGESDK_LANES(F8, std::sqrt(a.v[i])); }
static inline F8 floor(F8 a) { EDGESDK_LANES(F8, std::floor(a.v[i])); }
// 1.0 or 0.0: a mask that is also a factor.
static inline F8 at_most(F8 a, F8 b) { EDGESDK_LANES(F8, a.v[i] <= b.v[i] ? 1.0f : 0.0f); }
// `a` where its length is below the limit, else the limit: what is not a number, too.
static inline F8 bounded(F8 a, F8 limit) {
  EDGESDK_LANES(F8, std::fabs(a.v[i]) < limit.v[i] ? a.v[i] : limit.v[i]);
}
static inline float sum(F8 a) {
  const float s0 = a.v[0] + a.v[4], s1 = a.v[1] + a.v[5];
  const float s2 = a.v[2] + a.v[6], s3 = a.v[3] + a.v[7];
  return (s0 + s2) + (s1 + s3);
}
static inline F8 gather(const float* p, I8 index) { EDGESDK_LANES(F8, p[index.v[i]]); }
// Even and odd elements of the sixteen a then b; and back.
static inline void deinterleave(F8 a, F8 b, F8* even, F8* odd) {
  for (int i = 0; i < 4; ++i) {
    even->v[i] = a.v[2 * i];
    odd->v[i] = a.v[2 * i + 1];
    even->v[4 + i] = b.v[2 * i];
    odd->v[4 + i] = b.v[2 * i + 1];
  }
}
// What is at each place, and what follows it.
static inline void gather_pairs(const float* p, I8 index, F8* first, F8* second) {
  *first = gather(p, index);
  *second = gather(p + 1, index);
}
static inline void interleave(F8 even, F8 odd, F8* a, F8* b) {
  for (int i = 0; i < 4; ++i) {
    a->v[2 * i] = even.v[i];
    a->v[2 * i + 1] = odd.v[i];
    b->v[2 * i] = even.v[4 + i];
    b->v[2 * i + 1] = odd.v[4 + i];
  }
}
// Four from either place; a half of each number; the lower halves of two and the upper ones.
static inline F8 load_halves(const float* low, const float* high) {
  F8 r;
  std::memcpy(r.v, low, sizeof r / 2);
  std::memcpy(r.v + 4, high, sizeof r / 2);
  return r;
}
static inline F8 f4_4(float low, float high) { EDGESDK_LANES(F8, i < 4 ? low : high); }
static inline void halves(F8 a, F8 b, F8* low, F8* high) {
  *low = load_halves(a.v, b.v);
  *high = load_halves(a.v + 4, b.v + 4);
}

static inline I8 load(const int32_t* p) { I8 r; std::memcpy(&r, p, sizeof r); return r; }
// The same from anywhere, the first byte the lowest.
static inline I8 load_words(const uint8_t* p) {
  EDGESDK_LANES(I8, static_cast<int32_t>(p[4 * i] | p[4 * i + 1] << 8 | p[4 * i + 2] << 16 |
                                         static_cast<uint32_t>(p[4 * i + 3]) << 24));
}
static inline void store(int32_t* p, I8 a) { std::memcpy(p, &a, sizeof a); }
static inline I8 i8(int32_t x) { EDGESDK_LANES(I8, x); }
static inline I8 iota() { EDGESDK_LANES(I8, i); }
static inline I8 operator+(I8 a, I8 b) { EDGESDK_LANES(I8, a.v[i] + b.v[i]); }
static inline I8 operator-(I8 a, I8 b) { EDGESDK_LANES(I8, a.v[i] - b.v[i]); }
static inline I8 operator*(I8 a, I8 b) { EDGESDK_LANES(I8, a.v[i] * b.v[i]); }
static inline I8 operator&(I8 a, I8 b) { EDGESDK_LANES(I8, a.v[i] & b.v[i]); }
static inline I8 min(I8 a, I8 b) { EDGESDK_LANES(I8, a.v[i] < b.v[i] ? a.v[i] : b.v[i]); }
static inline I8 max(I8 a, I8 b) { EDGESDK_LANES(I8, a.v[i] > b.v[i] ? a.v[i] : b.v[i]); }
template <int bits>
static inline I8 shift_right(I8 a) { EDGESDK_LANES(I8, a.v[i] >> bits); }
template <int bits>
static inline I8 shift_left(I8 a) { EDGESDK_LANES(I8, static_cast<int32_t>(static_cast<uint32_t>(a.v[i]) << bits)); }
static inline F8 to_float(I8 a) { EDGESDK_LANES(F8, static_cast<float>(a.v[i])); }
// Towards zero; the caller keeps the values inside the range of 32 bits.
static inline I8 to_int(F8 a) { EDGESDK_LANES(I8, static_cast<int32_t>(a.v[i])); }

static inline S8 load(const int16_t* p) { S8 r; std::memcpy(&r, p, sizeof r); return r; }
static inline void store(int16_t* p, S8 a) { std::memcpy(p, &a, sizeof a); }
static inline S8 operator+(S8 a, S8 b) { EDGESDK_LANES(S8, static_cast<int16_t>(a.v[i] + b.v[i])); }
static inline S8 operator-(S8 a, S8 b) { EDGESDK_LANES(S8, static_cast<int16_t>(a.v[i] - b.v[i])); }
// (a b + 2^14) >> 15: the product with a 15-bit fraction, rounded.
static inline S8 multiply_rounded(S8 a, S8 b) {
  EDGESDK_LANES(S8, static_cast<int16_t>((a.v[i] * b.v[i] + 0x4000) >> 15));
}
// (a b) >> 7 of what fits 16 bits, and a sum that stays at the ends of them.
static inline S8 multiply_down(S8 a, S8 b) {
  EDGESDK_LANES(S8, static_cast<int16_t>((a.v[i] * b.v[i]) >> 7));
}
static inline S8 add_saturated(S8 a, S8 b) {
  EDGESDK_LANES(S8, static_cast<int16_t>(clamped(a.v[i] + b.v[i], -32768, 32767)));
}
// One channel of eight RGB pixels, none but their bytes read.
static inline S8 load_channel(const uint8_t* rgb, int channel) { EDGESDK_LANES(S8, rgb[3 * i + channel]); }
static inline I8 widen(S8 a) { EDGESDK_LANES(I8, a.v[i]); }
static inline S8 narrow(I8 a) { EDGESDK_LANES(S8, static_cast<int16_t>(a.v[i] > 32767 ? 32767 : a.v[i] < -32768 ? -32768 : a.v[i])); }
static inline I8 widen_bytes(const uint8_t* p) { EDGESDK_LANES(I8, p[i]); }
// Four of either place.
static inline I8 widen_fours(const uint16_t* low, const uint16_t* high) {
  EDGESDK_LANES(I8, i < 4 ? low[i] : high[i - 4]);
}
static inline S8 s8(int16_t x) { EDGESDK_LANES(S8, x); }
static inline S8 iota16() { EDGESDK_LANES(S8, static_cast<int16_t>(i)); }
static inline S8 operator&(S8 a, S8 b) { EDGESDK_LANES(S8, static_cast<int16_t>(a.v[i] & b.v[i])); }
static inline S8 min(S8 a, S8 b) { EDGESDK_LANES(S8, a.v[i] < b.v[i] ? a.v[i] : b.v[i]); }
static inline S8 max(S8 a, S8 b) { EDGESDK_LANES(S8, a.v[i] > b.v[i] ? a.v[i] : b.v[i]); }
template <int bits>
static inline S8 shift_right(S8 a) { EDGESDK_LANES(S8, static_cast<int16_t>(a.v[i] >> bits)); }
template <int bits>
static inline S8 shift_left(S8 a) { EDGESDK_LANES(S8, static_cast<int16_t>(static_cast<uint16_t>(a.v[i]) << bits)); }
static inline int first(S8 a) { return a.v[0]; }
static inline int first(I8 a) { return a.v[0]; }
static inline bool all_equal(I8 a, int32_t x) {
  for (int i = 0; i < 8; ++i) if (a.v[i] != x) return false;
  return true;
}
// Lanes of 0..255 as bytes.
static inline void store_bytes(uint8_t* p, I8 a) {
  for (int i = 0; i < 8; ++i) p[i] = static_cast<uint8_t>(a.v[i]);
}
static inline bool all_equal(S8 a, int16_t x) {
  for (int i = 0; i < 8; ++i) if (a.v[i] != x) return false;
  return true;
}
static inline Bytes16 load_bytes(const uint8_t* p) { Bytes16 r; std::memcpy(&r, p, sizeof r); return r; }
// Bytes of `a` at the sixteen positions of `index`, each 0..15.
static inline S8 pick(S8 a, Bytes16 index) {
  uint8_t from[16], to[16];
  std::memcpy(from, &a, 16);
  for (int i = 0; i < 16; ++i) to[i] = from[index.v[i] & 15];
  S8 r;
  std::memcpy(&r, to, 16);
  return r;
}

// Sum of products of bytes with one weight: acc[i] += weight * bytes[i], for sixteen bytes.
#include "simd_pairs.h"

struct Sum16 { uint16_t v[16]; };
static inline Sum16 zero_sum() { Sum16 r; std::memset(&r, 0, sizeof r); return r; }
static inline Sum16 add_weighted(Sum16 acc, const uint8_t* bytes, int weight) {
  for (int i = 0; i < 16; ++i) acc.v[i] = static_cast<uint16_t>(acc.v[i] + weight * bytes[i]);
  return acc;
}
static inline void store(uint16_t* p, Sum16 a) { std::memcpy(p, &a, sizeof a); }

#undef EDGESDK_LANES

// Eight RGBA pixels with five fractional bits a channel.
struct Block { int16_t v[32]; };
// Where eight pixels lie in a picture: the pixel above and left of each, and fractions of 1/32:
// `across` holds the weights of the left and of the right pixel in its lower and upper byte, `down`
// the fraction times 1024.
struct Spots { S8 x, y, across, down; };

static inline void sample(const uint8_t* top, ptrdiff_t stride, int across, int down,
                          int16_t* pixel) {
  const uint8_t* below = top + stride;
  const int left = across & 255, right = across >> 8;
  for (int c = 0; c < 4; ++c) {
    const int t = top[c] * left + top[4 + c] * right;
    const int d = below[c] * left + below[4 + c] * right - t;
    pixel[c] = static_cast<int16_t>(t + ((d * down + 0x4000) >> 15));
  }
}
// Bilinear samples of eight pixels that lie side by side from `top` on.
static inline Block sample_run(const uint8_t* top, ptrdiff_t stride, S8 across, S8 down) {
  Block r;
  for (int i = 0; i < 8; ++i) sample(top + 4 * i, stride, across.v[i], down.v[i], r.v + 4 * i);
  return r;
}
// Of eight pixels anywhere.
static inline Block sample_each(const uint8_t* data, ptrdiff_t stride, const Spots& spots) {
  Block r;
  for (int i = 0; i < 8; ++i)
    sample(data + spots.y.v[i] * stride + 4 * spots.x.v[i], stride, spots.across.v[i],
           spots.down.v[i], r.v + 4 * i);
  return r;
}
// a + (b - a) share / 32768, with a share for each pixel.
#include "simd_runs.h"

static inline Block mix(const Block& a, const Block& b, S8 share) {
  Block r;
  for (int i = 0; i < 32; ++i) {
    const int d = b.v[i] - a.v[i];
    r.v[i] = static_cast<int16_t>(a.v[i] + ((d * share.v[i / 4] + 0x4000) >> 15));
  }
  return r;
}
static inline Block block_of(S8 red, S8 green, S8 blue, S8 alpha) {
  Block r;
  for (int i = 0; i < 8; ++i) {
    r.v[4 * i] = red.v[i];
    r.v[4 * i + 1] = green.v[i];
    r.v[4 * i + 2] = blue.v[i];
    r.v[4 * i + 3] = alpha.v[i];
  }
  return r;
}
static inline void store(int16_t* p, const Block& a) { std::memcpy(p, &a, sizeof a); }
// Bytes, rounded and clamped: 32 of them, or 24 without alpha.
static inline void store_rgba(uint8_t* out, const Block& a) {
  for (int i = 0; i < 32; ++i) {
    const int value = (a.v[i] + 16) >> 5;
    out[i] = static_cast<uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
  }
}
static inline void store_rgb(uint8_t* out, const Block& a) {
  uint8_t bytes[32];
  store_rgba(bytes, a);
  for (int i = 0; i < 8; ++i) std::memcpy(out + 3 * i, bytes + 4 * i, 3);
}
// Sum of |bytes - pixel| over red, green and blue of eight pixels, five fractional bits.
static inline I8 difference(const uint8_t* bytes, const Block& a) {
  I8 r;
  for (int i = 0; i < 8; ++i) {
    r.v[i] = 0;
    for (int c = 0; c < 3; ++c) {
      const int d = (bytes[4 * i + c] << 5) - a.v[4 * i + c];
      r.v[i] += d < 0 ? -d : d;
    }
  }
  return r;
}

#include "simd_wide.h"

}  // namespace scalar
}  // namespace edgesdk
