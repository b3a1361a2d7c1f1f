#include "upscale.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "interframe.h"

namespace edgesdk {
namespace {

constexpr int kBand = 16;
constexpr int kRadius = 2;             // windows of the gain, low-resolution pixels
constexpr float kGainEpsilon = 2e-4f;  // full scale squared

// Of every full-size pixel; one more, so that two can be made at a time. Catmull-Rom: through the
// samples, third order for smooth pictures.
std::vector<Taps> taps_of(int full, int small) {
  std::vector<Taps> all;
  for (int i = 0; i < full; ++i) {
    const double place = (i + 0.5) * small / full - 0.5;
    const double below = std::floor(place);
    const float t = static_cast<float>(place - below);
    all.push_back({static_cast<int32_t>(below) + 1,
                   {((-0.5f * t + 1) * t - 0.5f) * t, (1.5f * t - 2.5f) * t * t + 1,
                    ((-1.5f * t + 2) * t + 0.5f) * t, (0.5f * t - 0.5f) * t * t},
                   t});
  }
  all.push_back(all.back());
  return all;
}

// A row as RGBA.
void widen_row(const uint8_t* in, int channels, int width, uint8_t* out) {
  if (channels == 4) std::memcpy(out, in, 4 * static_cast<size_t>(width));
  else if (channels == 3) widen_pixels(in, width, out);
  else for (int x = 0; x < width; ++x) std::memset(out + 4 * x, in[x], 4);
}

}  // namespace

struct GuidedUpscaler::Size {
  Size(int width, int height, int low_width, int low_height, int threads)
      : reader(width, height, low_width, low_height, threads, 0),
        fitter(low_width, low_height, kRadius, kGainEpsilon), across(taps_of(width, low_width)),
        down(taps_of(height, low_height)), row(12 * (static_cast<size_t>(low_width) + 4)),
        pixels(4 * (static_cast<size_t>(width) + 1)) {
    size_t bytes = 0, floats = 0;
    for (int i = 0; i < 2; ++i) lay_picture(nullptr, &bytes, low_width, low_height);
    lay_plane(nullptr, &floats, low_width, low_height);
    const size_t rows = row * static_cast<size_t>(threads);
    bytes += pixels * static_cast<size_t>(threads) + 8 * static_cast<size_t>(low_width) * static_cast<size_t>(low_height);
    float* cursor = memory.reserve<float>(floats + rows + bytes / sizeof(float) + 16);
    grey = lay_plane(&cursor, nullptr, low_width, low_height);
    scratch = cursor;
    uint8_t* place = reinterpret_cast<uint8_t*>(cursor + rows);
    painted = lay_picture(&place, nullptr, low_width, low_height);
    original = lay_picture(&place, nullptr, low_width, low_height);
    both = place;
    pixel_rows = both + 8 * static_cast<size_t>(low_width) * static_cast<size_t>(low_height);
    int16_t* maps = map_memory.reserve<int16_t>(6 * fitter.plane_size());
    for (int c = 0; c < 3; ++c) {
      map.gain[c] = maps + static_cast<size_t>(2 * c) * fitter.plane_size();
      map.bias[c] = map.gain[c] + fitter.plane_size();
    }
  }

  FrameReader reader;
  AffineFitter fitter;
  std::vector<Taps> across, down;
  size_t row, pixels; // scratch a worker: floats, bytes
  Picture painted, original;
  Plane grey;
  AffineMap map{};
  float* scratch;
  uint8_t *both, *pixel_rows; // of every small pixel, the painting and the original
  Buffer memory, map_memory;
};

GuidedUpscaler::GuidedUpscaler(int width, int height, int threads)
    : width_(width), height_(height), threads_(threads) {}

void GuidedUpscaler::upscale(const edgesdk_image& painted, const edgesdk_image& original,
                             const edgesdk_image* shrunk, const edgesdk_image& output,
                             const Kernels& kernels, ThreadPool& pool) {
  const int low_width = painted.width, low_height = painted.height;
  if (!size_ || size_->painted.width != low_width || size_->painted.height != low_height)
    size_ = std::make_shared<Size>(width_, height_, low_width, low_height, threads_);
  Size& size = *size_;
  import_picture(painted, size.painted, pool);
  if (shrunk) import_picture(*shrunk, size.original, pool);
  else size.reader.shrink(original, kernels, pool, size.original, size.grey);
  size.fitter.fit(size.original, size.painted, kernels, pool, size.map);

  const size_t stride = 8 * static_cast<size_t>(low_width);
  for (int y = 0; y < low_height; ++y)
    for (int x = 0; x < low_width; ++x) {
      uint8_t* both = size.both + static_cast<size_t>(y) * stride + 8 * x;
      std::memcpy(both, row_of(size.painted, y) + 4 * x, 4);
      std::memcpy(both + 4, row_of(size.original, y) + 4 * x, 4);
    }

  const int channels = channels_of(original.format), out_channels = channels_of(output.format);
  pool.run((height_ + kBand - 1) / kBand, [&](int task, int worker) {
    EnlargeTask work;
    work.across = size.across.data();
    work.small_width = low_width;
    work.width = width_;
    work.both = size.scratch + size.row * static_cast<size_t>(worker);
    work.gains = work.both + 8 * (low_width + 4);
    work.pixels = size.pixel_rows + size.pixels * static_cast<size_t>(worker);
    for (int y = task * kBand; y < std::min(height_, (task + 1) * kBand); ++y) {
      work.down = size.down[static_cast<size_t>(y)];
      const auto inside = [&](int tap) { return std::clamp(work.down.first - 2 + tap, 0, low_height - 1); };
      for (int k = 0; k < 4; ++k) work.rows[k] = size.both + static_cast<size_t>(inside(k)) * stride;
      for (int k = 0; k < 2; ++k)
        for (int c = 0; c < 3; ++c) work.gain[k][c] = size.map.gain[c] + inside(k + 1) * size.fitter.stride();
      widen_row(static_cast<const uint8_t*>(original.data) + y * static_cast<ptrdiff_t>(original.stride),
                channels, width_, work.pixels);
      kernels.enlarge(work);
      uint8_t* out = static_cast<uint8_t*>(output.data) + y * static_cast<ptrdiff_t>(output.stride);
      if (out_channels == 4) std::memcpy(out, work.pixels, 4 * static_cast<size_t>(width_));
      else narrow_pixels(work.pixels, width_, out);
    }
  });
}

}  // namespace edgesdk
