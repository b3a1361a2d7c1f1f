// Sixteen 16-bit lanes as two times eight. Included inside a namespace that has S8.

struct S16 { S8 low, high; };
struct Bytes32 { Bytes16 low, high; };

static inline S8 low_half(S16 a) { return a.low; }
static inline S8 high_half(S16 a) { return a.high; }
static inline S16 load_wide(const int16_t* p) { return {load(p), load(p + 8)}; }
static inline Bytes32 load_wide_bytes(const uint8_t* p) { return {load_bytes(p), load_bytes(p + 16)}; }
static inline S16 s16(int16_t x) { return {s8(x), s8(x)}; }
static inline S16 iota_wide() { return {iota16(), iota16() + s8(8)}; }
static inline S16 operator+(S16 a, S16 b) { return {a.low + b.low, a.high + b.high}; }
static inline S16 operator-(S16 a, S16 b) { return {a.low - b.low, a.high - b.high}; }
static inline S16 operator&(S16 a, S16 b) { return {a.low & b.low, a.high & b.high}; }
static inline S16 min(S16 a, S16 b) { return {min(a.low, b.low), min(a.high, b.high)}; }
static inline S16 max(S16 a, S16 b) { return {max(a.low, b.low), max(a.high, b.high)}; }
static inline S16 multiply_rounded(S16 a, S16 b) {
  return {multiply_rounded(a.low, b.low), multiply_rounded(a.high, b.high)};
}
static inline S16 multiply_down(S16 a, S16 b) {
  return {multiply_down(a.low, b.low), multiply_down(a.high, b.high)};
}
static inline S16 add_saturated(S16 a, S16 b) {
  return {add_saturated(a.low, b.low), add_saturated(a.high, b.high)};
}
static inline S16 load_wide_channel(const uint8_t* rgb, int channel) {
  return {load_channel(rgb, channel), load_channel(rgb + 24, channel)};
}
template <int bits>
static inline S16 shift_right(S16 a) { return {shift_right<bits>(a.low), shift_right<bits>(a.high)}; }
template <int bits>
static inline S16 shift_left(S16 a) { return {shift_left<bits>(a.low), shift_left<bits>(a.high)}; }
static inline bool all_equal(S16 a, int16_t x) { return all_equal(a.low, x) && all_equal(a.high, x); }
// Of the same eight lanes for both halves.
static inline S16 pick(S8 a, Bytes32 index) { return {pick(a, index.low), pick(a, index.high)}; }
