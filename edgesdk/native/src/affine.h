// The locally affine colour map from an original to its painting, channel by channel: the guided
// filter's coefficients.
#pragma once

#include <vector>

#include "buffer.h"
#include "kernels.h"
#include "thread_pool.h"

namespace edgesdk {

// Fits maps of one size.
class AffineFitter {
 public:
  AffineFitter(int width, int height, int radius, float epsilon);
  // Values from row to row of the maps' planes.
  ptrdiff_t stride() const { return stride_; }
  size_t plane_size() const;
  // Least-squares gain and bias of every window, then the mean over the windows that hold a pixel.
  void fit(const Picture& original, const Picture& painted, const Kernels& kernels,
           ThreadPool& pool, const AffineMap& map) const;

 private:
  int width_, height_, radius_;
  float epsilon_;
  ptrdiff_t stride_, sums_stride_;
  Buffer memory_;
  std::vector<float> columns_; // that the window of each column holds; eight more
  int32_t* sums_;   // of columns, four rows a channel
  int32_t* fitted_; // gain and bias of every window, for each channel
};

}  // namespace edgesdk
