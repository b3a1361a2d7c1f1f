#include "frame.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace edgesdk {
namespace {

constexpr int kSmallestLevel = 12; // pixels; coarser levels hold no more than one patch
constexpr int kMostLevels = 7;
constexpr int kLeft = 16;          // bytes before a picture's rows, for the border
constexpr int kBand = 16;          // rows of the small picture a task makes

}  // namespace

int channels_of(int32_t format) {
  switch (format) {
    case EDGESDK_FORMAT_RGBA8888: return 4;
    case EDGESDK_FORMAT_RGB888: return 3;
    case EDGESDK_FORMAT_GREY8: return 1;
    default: return 0;
  }
}

Plane lay_plane(float** cursor, size_t* floats, int width, int height) {
  // Rows begin at a cache line, and vectors may run on past a row's end.
  const ptrdiff_t stride = (width + 2 * kPad + 15) / 16 * 16;
  const size_t size = static_cast<size_t>(stride) * static_cast<size_t>(height + 2 * kPad) + 32;
  Plane plane = {nullptr, width, height, stride};
  if (cursor) {
    plane.data = *cursor + kPad * stride + kPad;
    *cursor += size;
  }
  if (floats) *floats += size;
  return plane;
}

Picture lay_picture(uint8_t** cursor, size_t* bytes, int width, int height) {
  const ptrdiff_t stride = (kLeft + 4 * (static_cast<ptrdiff_t>(width) + 1) + 63) / 64 * 64;
  // Vectors of eight pixels may run on past the last row.
  const size_t size = static_cast<size_t>(stride) * static_cast<size_t>(height + 2) + 64;
  Picture picture = {nullptr, width, height, stride};
  if (cursor) {
    picture.data = *cursor + stride + kLeft;
    *cursor += size;
  }
  if (bytes) *bytes += size;
  return picture;
}

void extend(const Picture& picture) {
  const int w = picture.width, h = picture.height;
  for (int y = 0; y < h; ++y) {
    uint8_t* row = row_of(picture, y);
    std::memcpy(row - 4, row, 4);
    std::memcpy(row + 4 * w, row + 4 * (w - 1), 4);
  }
  const size_t bytes = 4 * (static_cast<size_t>(w) + 2);
  std::memcpy(row_of(picture, -1) - 4, row_of(picture, 0) - 4, bytes);
  std::memcpy(row_of(picture, h) - 4, row_of(picture, h - 1) - 4, bytes);
}

AreaTable::AreaTable(int from, int to) {
  const double scale = static_cast<double>(from) / to;
  bool alike = true;
  for (int i = 0; i < to; ++i) {
    const double begin = i * scale, end = (i + 1) * scale;
    const int first = static_cast<int>(begin);
    const int last = std::clamp(static_cast<int>(std::ceil(end - 1e-9)), first + 1, from);
    first_.push_back(first);
    count_.push_back(last - first);
    offset_.push_back(static_cast<int32_t>(weights_.size()));
    // Rounding the running total keeps the sum of the weights at exactly 256.
    int before = 0;
    for (int p = first; p < last; ++p) {
      const double covered = (std::min(end, p + 1.0) - begin) / scale;
      const int total = p + 1 == last ? 256 : static_cast<int>(std::lround(256 * covered));
      weights_.push_back(total - before);
      alike = alike && last - first == count_[0] && weights_.back() == weights_[0];
      before = total;
    }
    if (weights_.size() % 2) weights_.push_back(0);
  }
  for (const int32_t weight : weights_) fours_.insert(fours_.end(), 4, weight);
  uniform_ = alike ? count_[0] : 0;
}

std::vector<std::array<int, 2>> FrameReader::pyramid(int flow_width, int flow_height) {
  std::vector<std::array<int, 2>> sizes;
  int w = flow_width, h = flow_height;
  do {
    sizes.push_back({w, h});
    w = (w + 1) / 2;
    h = (h + 1) / 2;
  } while (std::min(w, h) >= kSmallestLevel && sizes.size() < kMostLevels);
  return sizes;
}

FrameReader::FrameReader(int width, int height, int flow_width, int flow_height, int threads,
                         int finest)
    : across_(width, flow_width), down_(height, flow_height),
      same_across_(flow_width, flow_width), same_down_(flow_height, flow_height),
      sizes_(pyramid(flow_width, flow_height)), finest_(static_cast<size_t>(finest)),
      sums_size_(static_cast<size_t>(width) * 4 + 64),
      sums_(memory_.reserve<uint16_t>(sums_size_ * static_cast<size_t>(threads))) {}

void FrameReader::allocate(Frame& frame) const {
  size_t floats = 0, bytes = 0;
  for (const auto& size : sizes_)
    for (int i = 0; i < 3; ++i) lay_plane(nullptr, &floats, size[0], size[1]);
  lay_picture(nullptr, &bytes, sizes_[0][0], sizes_[0][1]);
  float* cursor = frame.memory.reserve<float>(floats + bytes / sizeof(float) + 16);
  frame.levels.clear();
  for (const auto& size : sizes_) {
    Level level;
    for (Plane* plane : {&level.grey, &level.gx, &level.gy})
      *plane = lay_plane(&cursor, nullptr, size[0], size[1]);
    frame.levels.push_back(level);
  }
  uint8_t* place = reinterpret_cast<uint8_t*>(cursor);
  frame.small = lay_picture(&place, nullptr, sizes_[0][0], sizes_[0][1]);
}

void FrameReader::shrink(const edgesdk_image& image, const Kernels& kernels, ThreadPool& pool,
                         const Picture& small, const Plane& grey) const {
  const int height = small.height;
  const bool same = image.width == small.width && image.height == height;
  // What is of that size already is copied, which is not worth waking a thread for.
  const int band = same ? height : kBand;
  pool.run((height + band - 1) / band, [&](int task, int worker) {
    DownscaleTask work;
    work.source = static_cast<const uint8_t*>(image.data);
    work.stride = static_cast<ptrdiff_t>(image.stride);
    work.channels = channels_of(image.format);
    work.width = image.width;
    work.across = (same ? same_across_ : across_).axis();
    work.down = (same ? same_down_ : down_).axis();
    work.small = small;
    work.grey = grey;
    work.row_begin = task * band;
    work.row_end = std::min(height, work.row_begin + band);
    work.sums = sums_ + sums_size_ * static_cast<size_t>(worker);
    kernels.downscale(work);
  });
  extend(small);
}

void FrameReader::read(const edgesdk_image& image, const Kernels& kernels, ThreadPool& pool,
                       Frame& frame) const {
  shrink(image, kernels, pool, frame.small, frame.levels[0].grey);
  frame.deep = frame.counted = false;
}

void FrameReader::deepen(const Kernels& kernels, Frame& frame) const {
  if (frame.deep) return;
  kernels.extend(frame.levels[0].grey);
  for (size_t i = 0; i + 1 < frame.levels.size(); ++i)
    kernels.halve(frame.levels[i].grey, frame.levels[i + 1].grey);
  for (size_t i = finest_; i < frame.levels.size(); ++i) kernels.differentiate(frame.levels[i]);
  frame.deep = true;
}

namespace {

// floor(n / d) as a product, for n up to 24480 and d up to 1530: the error, below n d, stays under 2^31.
struct Reciprocals {
  uint64_t of[6 * 255 + 1];
  Reciprocals() : of() {
    for (uint64_t d = 1; d <= 6 * 255; ++d) of[d] = ((uint64_t{1} << 31) + d - 1) / d;
  }
};

int divided(const Reciprocals& reciprocals, int n, int d) {
  return static_cast<int>(static_cast<uint64_t>(n) * reciprocals.of[d] >> 31);
}

}  // namespace

void count_colours(const Picture& picture, Histogram& histogram) {
  static const Reciprocals reciprocals;
  histogram.fill(0);
  for (int y = 0; y < picture.height; ++y) {
    const uint8_t* row = row_of(picture, y);
    for (int x = 0; x < picture.width; ++x) {
      const int r = row[4 * x], g = row[4 * x + 1], b = row[4 * x + 2];
      const int high = std::max({r, g, b}), chroma = high - std::min({r, g, b});
      // Sixteenths of the hue circle, saturation and value, by integer arithmetic.
      int sixths = 0; // of the circle, times chroma
      if (chroma > 0) {
        if (high == r) sixths = g - b + (g < b ? 6 * chroma : 0);
        else if (high == g) sixths = b - r + 2 * chroma;
        else sixths = r - g + 4 * chroma;
      }
      const int hue = std::min(kBins - 1, divided(reciprocals, sixths * kBins, 6 * chroma));
      const int saturation = std::min(kBins - 1, divided(reciprocals, chroma * kBins, high));
      ++histogram[static_cast<size_t>((hue * kBins + saturation) * kBins + high / kBins)];
    }
  }
}

float correlation(const Histogram& a, const Histogram& b) {
  double sum_a = 0, sum_b = 0, aa = 0, bb = 0, ab = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double x = a[i], y = b[i];
    sum_a += x;
    sum_b += y;
    aa += x * x;
    bb += y * y;
    ab += x * y;
  }
  const double n = static_cast<double>(a.size());
  const double spread_a = aa - sum_a * sum_a / n, spread_b = bb - sum_b * sum_b / n;
  if (!(spread_a > 0) || !(spread_b > 0)) return a == b ? 1.0f : 0.0f;
  return static_cast<float>((ab - sum_a * sum_b / n) / std::sqrt(spread_a * spread_b));
}

}  // namespace edgesdk
