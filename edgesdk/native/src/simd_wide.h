// What AVX-512 does at once, in steps of eight. Included inside a namespace that has S16 and Block.

using Floats = F8;
constexpr int kFloats = 8;
static inline Floats load_floats(const float* p) { return load(p); }
static inline Floats floats(float x) { return f8(x); }

struct WideBlock { Block lower, upper; };
struct WideSpots { S16 x, y, across, down; };

static inline WideBlock sample_wide(const uint8_t* data, ptrdiff_t stride, const WideSpots& s) {
  return {sample(data, stride, {low_half(s.x), low_half(s.y), low_half(s.across), low_half(s.down)}),
          sample(data, stride, {high_half(s.x), high_half(s.y), high_half(s.across), high_half(s.down)})};
}
static inline WideBlock mix(const WideBlock& a, const WideBlock& b, S16 share) {
  return {mix(a.lower, b.lower, low_half(share)), mix(a.upper, b.upper, high_half(share))};
}
static inline WideBlock wide_block_of(S16 red, S16 green, S16 blue, S16 alpha) {
  return {block_of(low_half(red), low_half(green), low_half(blue), low_half(alpha)),
          block_of(high_half(red), high_half(green), high_half(blue), high_half(alpha))};
}
static inline void store_rgba(uint8_t* out, const WideBlock& a) {
  store_rgba(out, a.lower);
  store_rgba(out + 32, a.upper);
}
static inline void store_rgb(uint8_t* out, const WideBlock& a) {
  store_rgb(out, a.lower);
  store_rgb(out + 24, a.upper);
}
