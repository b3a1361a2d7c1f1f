// What the engine keeps of a frame: its small picture and grey pyramid; its colour histogram.
#pragma once

#include <array>
#include <vector>

#include "buffer.h"
#include "edgesdk.h"
#include "kernels.h"
#include "thread_pool.h"

namespace edgesdk {

constexpr int kBins = 16;
using Histogram = std::array<int32_t, kBins * kBins * kBins>;

struct Frame {
  Picture small{};
  std::vector<Level> levels; // the finest first
  bool deep = false;         // the levels are there
  Histogram colours;         // of the small picture
  bool counted = false;      // likewise
  Buffer memory;
};

// Bytes a pixel of a format takes; 0 for an unknown one.
int channels_of(int32_t format);

// A plane and a picture with their borders, laid out in memory from `cursor` on. With a null cursor
// they only count.
Plane lay_plane(float** cursor, size_t* floats, int width, int height);
Picture lay_picture(uint8_t** cursor, size_t* bytes, int width, int height);

// Repeat a picture's border into the pixel around it.
void extend(const Picture& picture);

// How an axis of `from` pixels is shared out among `to` <= `from` pixels.
class AreaTable {
 public:
  AreaTable(int from, int to);
  AreaAxis axis() const {
    return {first_.data(), count_.data(), offset_.data(), weights_.data(), fours_.data(), uniform_};
  }

 private:
  std::vector<int32_t> first_, count_, offset_, weights_, fours_;
  int uniform_ = 0;
};

// Turns frames of one size into the engine's frames.
class FrameReader {
 public:
  // Derivatives are made from level `finest` on.
  FrameReader(int width, int height, int flow_width, int flow_height, int threads, int finest);
  // Pyramids of a flow size; the finest level first.
  static std::vector<std::array<int, 2>> pyramid(int flow_width, int flow_height);
  // Sizes of the pyramid's levels, the finest first.
  const std::vector<std::array<int, 2>>& sizes() const { return sizes_; }
  void allocate(Frame& frame) const;
  // Scale a picture by area, or take over one of the small size; `grey` takes its luma, 0..255.
  void shrink(const edgesdk_image& image, const Kernels& kernels, ThreadPool& pool,
              const Picture& small, const Plane& grey) const;
  void read(const edgesdk_image& image, const Kernels& kernels, ThreadPool& pool, Frame& frame) const;
  // Make the levels of a frame that was read, where they are not there yet.
  void deepen(const Kernels& kernels, Frame& frame) const;

 private:
  AreaTable across_, down_, same_across_, same_down_;
  std::vector<std::array<int, 2>> sizes_;
  size_t finest_;
  size_t sums_size_; // scratch a worker
  Buffer memory_;
  uint16_t* sums_;
};

// Colours of a picture in sixteen steps each of hue, saturation and value.
void count_colours(const Picture& picture, Histogram& histogram);

// Pearson's correlation of two histograms of the same number of pixels; 1 for equal ones.
float correlation(const Histogram& a, const Histogram& b);

}  // namespace edgesdk
