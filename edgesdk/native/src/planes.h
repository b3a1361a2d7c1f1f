// Plain views of memory that the engine owns and the kernels compute on.
//
// Views have no member functions: kernels are compiled once for each instruction set, and an inline
// member shared by those builds could be linked from the one the processor cannot run.
#pragma once

#include <cstddef>
#include <cstdint>

namespace edgesdk {

// Pixels around every plane that repeat its border, so that a patch may hang over the edge.
constexpr int kPad = 16;
// Side of the square patches of the flow search.
constexpr int kPatch = 8;
// Fractional bits of positions in the full-size picture, and of blended colours.
constexpr int kFractionBits = 5;
constexpr int kOne = 1 << kFractionBits;
// Largest displacement the renderer follows, full-size pixels: the difference of two fits 16 bits.
constexpr float kLargestShift = 511.0f;
// Read as a displacement that no pixel can have made.
constexpr float kNowhere = 1e6f;
// Gains of colour maps: their unit; the largest, so that differences of two fit 16 bits; likewise of
// biases, in 1 / kOne of a level.
constexpr int kGainOne = 4096;
constexpr float kLargestGain = 4 * kGainOne - 1, kLargestBias = 16383;
// A fraction that multiplies as one; see multiply_rounded.
constexpr int16_t kFull = 32767;

// `data` is pixel (0, 0); kPad pixels lie on every side of it. `stride` in floats.
struct Plane {
  float* data;
  int width, height;
  ptrdiff_t stride;
};

// RGBA bytes; `data` is pixel (0, 0), and one pixel on every side repeats the border.
struct Picture {
  uint8_t* data;
  int width, height;
  ptrdiff_t stride;
};

struct Flow {
  Plane u, v;
};

// One level of a frame's pyramid, with its derivatives.
struct Level {
  Plane grey, gx, gy;
};

static inline float* row_of(const Plane& plane, int y) { return plane.data + y * plane.stride; }
static inline uint8_t* row_of(const Picture& picture, int y) {
  return picture.data + y * picture.stride;
}
// Values from row to row of 16-bit fields at flow size: vectors begin at any column and run on for
// eight, and one column repeats the last.
static inline ptrdiff_t field_stride(int width) { return (width + 24 + 15) / 16 * 16; }
template <typename T>
static inline T clamped(T x, T low, T high) {
  return x < low ? low : x > high ? high : x;
}

}  // namespace edgesdk
