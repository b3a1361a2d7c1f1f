#include "upscale.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <vector>

#include "interframe.h"

namespace edgesdk {
namespace {

constexpr int kBand = 16;
constexpr int kRadius = 2;             // windows of the gain, low-resolution pixels
constexpr float kGainEpsilon = 2e-4f;  // full scale squared

// Four cubic taps of a full-size pixel, and the two linear ones in the middle of them.
struct Taps {
  std::array<int, 4> index;
  std::array<float, 4> cubic;
  float linear;
};

// Catmull-Rom: through the samples, third order for smooth pictures.
std::vector<Taps> taps_of(int full, int small) {
  std::vector<Taps> all(static_cast<size_t>(full));
  for (int i = 0; i < full; ++i) {
    const double place = (i + 0.5) * small / full - 0.5;
    const double below = std::floor(place);
    const float t = static_cast<float>(place - below);
    Taps& taps = all[static_cast<size_t>(i)];
    for (int k = 0; k < 4; ++k)
      taps.index[static_cast<size_t>(k)] = std::clamp(static_cast<int>(below) - 1 + k, 0, small - 1);
    taps.cubic = {((-0.5f * t + 1) * t - 0.5f) * t, (1.5f * t - 2.5f) * t * t + 1,
                  ((-1.5f * t + 2) * t + 0.5f) * t, (0.5f * t - 0.5f) * t * t};
    taps.linear = t;
  }
  return all;
}

// Four channels of a pixel at once, on every processor that compilers know vectors of.
#if defined(__GNUC__)
using Pixel = float __attribute__((vector_size(16)));
using Whole = int32_t __attribute__((vector_size(16)));

// The whole levels of a pixel within 0..255.
void store(Pixel pixel, int channels, uint8_t* out) {
  const Pixel none = {}, most = {255, 255, 255, 255};
  pixel = pixel > none ? pixel : none;
  pixel = pixel < most ? pixel : most;
  const Whole levels = __builtin_convertvector(pixel, Whole);
  for (int c = 0; c < channels; ++c) out[c] = static_cast<uint8_t>(levels[c]);
}
#else
struct Pixel {
  float value[4];
  float operator[](int c) const { return value[c]; }
  friend Pixel operator+(Pixel a, const Pixel& b) {
    for (int c = 0; c < 4; ++c) a.value[c] += b.value[c];
    return a;
  }
  friend Pixel operator-(Pixel a, const Pixel& b) {
    for (int c = 0; c < 4; ++c) a.value[c] -= b.value[c];
    return a;
  }
  friend Pixel operator*(Pixel a, const Pixel& b) {
    for (int c = 0; c < 4; ++c) a.value[c] *= b.value[c];
    return a;
  }
};

void store(const Pixel& pixel, int channels, uint8_t* out) {
  for (int c = 0; c < channels; ++c)
    out[c] = static_cast<uint8_t>(std::clamp(pixel[c], 0.0f, 255.0f));
}
#endif

Pixel spread(float x) { return Pixel{x, x, x, x}; }

Pixel load(const float* from) {
  Pixel pixel;
  std::memcpy(&pixel, from, sizeof(pixel));
  return pixel;
}

Pixel cubic(const float* row, const Taps& taps) {
  return spread(taps.cubic[0]) * load(row + 4 * taps.index[0]) +
         spread(taps.cubic[1]) * load(row + 4 * taps.index[1]) +
         spread(taps.cubic[2]) * load(row + 4 * taps.index[2]) +
         spread(taps.cubic[3]) * load(row + 4 * taps.index[3]);
}

// Rows of four floats a pixel.
void cubic_row(const Picture& picture, const Taps& taps, float* out) {
  const uint8_t* rows[4];
  for (size_t k = 0; k < 4; ++k) rows[k] = row_of(picture, taps.index[k]);
  for (int i = 0; i < 4 * picture.width; ++i)
    out[i] = taps.cubic[0] * rows[0][i] + taps.cubic[1] * rows[1][i] + taps.cubic[2] * rows[2][i] +
             taps.cubic[3] * rows[3][i];
}

}  // namespace

struct GuidedUpscaler::Size {
  Size(int width, int height, int low_width, int low_height, int threads)
      : reader(width, height, low_width, low_height, threads, 0),
        fitter(low_width, low_height, kRadius, kGainEpsilon), across(taps_of(width, low_width)),
        down(taps_of(height, low_height)), row(4 * static_cast<size_t>(low_width)) {
    size_t bytes = 0, floats = 0;
    for (int i = 0; i < 2; ++i) lay_picture(nullptr, &bytes, low_width, low_height);
    lay_plane(nullptr, &floats, low_width, low_height);
    const size_t rows = 3 * row * static_cast<size_t>(threads);
    float* cursor = memory.reserve<float>(floats + rows + bytes / sizeof(float) + 16);
    grey = lay_plane(&cursor, nullptr, low_width, low_height);
    scratch = cursor;
    uint8_t* place = reinterpret_cast<uint8_t*>(cursor + rows);
    painted = lay_picture(&place, nullptr, low_width, low_height);
    original = lay_picture(&place, nullptr, low_width, low_height);
    int16_t* maps = map_memory.reserve<int16_t>(6 * fitter.plane_size());
    for (int c = 0; c < 3; ++c) {
      map.gain[c] = maps + static_cast<size_t>(2 * c) * fitter.plane_size();
      map.bias[c] = map.gain[c] + fitter.plane_size();
    }
  }

  FrameReader reader;
  AffineFitter fitter;
  std::vector<Taps> across, down;
  size_t row;
  Picture painted, original;
  Plane grey;
  AffineMap map{};
  float* scratch;
  Buffer memory, map_memory;
};

GuidedUpscaler::GuidedUpscaler(int width, int height, int threads)
    : width_(width), height_(height), threads_(threads) {}

void GuidedUpscaler::upscale(const edgesdk_image& painted, const edgesdk_image& original,
                             const edgesdk_image& output, const Kernels& kernels,
                             ThreadPool& pool) {
  const int low_width = painted.width, low_height = painted.height;
  if (!size_ || size_->painted.width != low_width || size_->painted.height != low_height)
    size_ = std::make_shared<Size>(width_, height_, low_width, low_height, threads_);
  Size& size = *size_;
  import_picture(painted, size.painted, pool);
  size.reader.shrink(original, kernels, pool, size.original, size.grey);
  size.fitter.fit(size.original, size.painted, pool, size.map);

  const int channels = channels_of(original.format), out_channels = channels_of(output.format);
  pool.run((height_ + kBand - 1) / kBand, [&](int task, int worker) {
    float* paint_row = size.scratch + 3 * size.row * static_cast<size_t>(worker);
    float *guide_row = paint_row + size.row, *gain_row = guide_row + size.row;
    for (int y = task * kBand; y < std::min(height_, (task + 1) * kBand); ++y) {
      const Taps& down = size.down[static_cast<size_t>(y)];
      cubic_row(size.painted, down, paint_row);
      cubic_row(size.original, down, guide_row);
      const ptrdiff_t upper = down.index[1] * size.fitter.stride();
      const ptrdiff_t lower = down.index[2] * size.fitter.stride();
      for (int c = 0; c < 3; ++c)
        for (int x = 0; x < low_width; ++x) {
          const float a = size.map.gain[c][upper + x], b = size.map.gain[c][lower + x];
          gain_row[4 * x + c] = (a + (b - a) * down.linear) * (1.0f / 4096);
        }
      for (int x = 0; x < low_width; ++x) gain_row[4 * x + 3] = 0;
      const uint8_t* guide = static_cast<const uint8_t*>(original.data) + y * static_cast<ptrdiff_t>(original.stride);
      uint8_t* out = static_cast<uint8_t*>(output.data) + y * static_cast<ptrdiff_t>(output.stride);
      for (int x = 0; x < width_; ++x) {
        const Taps& taps = size.across[static_cast<size_t>(x)];
        const uint8_t* pixel = guide + channels * x;
        const Pixel own = {static_cast<float>(pixel[0]), static_cast<float>(pixel[channels == 1 ? 0 : 1]),
                           static_cast<float>(pixel[channels == 1 ? 0 : 2]), 0.0f};
        const Pixel near = load(gain_row + 4 * taps.index[1]), far = load(gain_row + 4 * taps.index[2]);
        const Pixel gain = near + (far - near) * spread(taps.linear);
        const Pixel value = cubic(paint_row, taps) + gain * (own - cubic(guide_row, taps)) + spread(0.5f);
        store(value, out_channels, out + out_channels * x);
      }
    }
  });
}

}  // namespace edgesdk
