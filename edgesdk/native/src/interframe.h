// In-between frames: from flows, validity and painted key frames to the picture of a frame.
#pragma once

#include <vector>

#include "affine.h"
#include "buffer.h"
#include "edgesdk.h"
#include "flow.h"
#include "thread_pool.h"

namespace edgesdk {

// A key frame: its original, its painting, and how the present frame relates to it.
struct Slot {
  Frame* original = nullptr; // null: not set
  Picture painted{};
  AffineMap affine{};
  bool has_painted = false;
  bool fitted = false; // whether `affine` is of `painted`
  Buffer memory;
};

// The relation of the present frame to a slot.
struct Link {
  Flow to_key{}, from_key{};
  uint8_t *valid = nullptr, *residual = nullptr;
  bool set = false, judged = false;
};

// Renders frames of one size with fields of one size.
class FrameRenderer {
 public:
  FrameRenderer(const edgesdk_video_config& config, int threads);
  // Bytes of a row of the links' planes.
  ptrdiff_t link_stride() const { return link_stride_; }

  // Compare the frame with the key frame of a link: where it is visible and how well it fits.
  void judge(const Frame& frame, const Frame& key, const Link& link, const Kernels& kernels,
             ThreadPool& pool) const;
  // Null slots are absent; `tau` as in edgesdk_video_render.
  void render(const Slot* a, const Link& link_a, const Slot* b, const Link& link_b, float tau,
              const edgesdk_image& original, const edgesdk_image& output, const Kernels& kernels,
              ThreadPool& pool) const;

 private:
  edgesdk_video_config config_;
  ptrdiff_t link_stride_;
  Fields fields_{};
  std::vector<ColumnBlock> columns_;
  std::vector<int32_t> row_index_;
  std::vector<int16_t> row_fraction_;
  std::vector<float> falloff_;
  bool narrow_ = true;
  Buffer memory_;
  int16_t* scratch_;
};

// A row of pixels from three bytes to four, opaque, and back.
void widen_pixels(const uint8_t* rgb, int width, uint8_t* rgba);
void narrow_pixels(const uint8_t* rgba, int width, uint8_t* rgb);

// Copy a painted picture, RGBA or RGB, to or from the engine's layout.
void import_picture(const edgesdk_image& image, const Picture& picture, ThreadPool& pool);
void export_picture(const Picture& picture, const edgesdk_image& image, ThreadPool& pool);

}  // namespace edgesdk
