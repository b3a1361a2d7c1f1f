// Enlarging a painted picture along the edges of its full-size original.
#pragma once

#include <memory>

#include "affine.h"
#include "edgesdk.h"
#include "frame.h"

namespace edgesdk {

// Bicubic interpolation of the painting, plus gain x (original - bicubic of the shrunk original):
// with gain 0 that is bicubic interpolation, and where the painting is the original it is exact.
class GuidedUpscaler {
 public:
  GuidedUpscaler(int width, int height, int threads);
  // Null for a shrunk original that is to be made.
  void upscale(const edgesdk_image& painted, const edgesdk_image& original,
               const edgesdk_image* shrunk, const edgesdk_image& output, const Kernels& kernels, ThreadPool& pool);

 private:
  struct Size; // everything that depends on the low-resolution size
  int width_, height_, threads_;
  std::shared_ptr<Size> size_;
};

}  // namespace edgesdk
