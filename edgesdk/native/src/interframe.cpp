#include "interframe.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace edgesdk {
namespace {

constexpr int kBand = 16; // output rows of a task
constexpr int kAlone = 1 << 18; // pixels that are copied in the time it takes to wake a thread

// Where a full-size pixel's centre lies on a small axis: the index below and the fraction.
void place_on(int pixel, int full, int small, int* index, int16_t* fraction) {
  const double scale = static_cast<double>(small) / full;
  const double place = std::clamp((pixel + 0.5) * scale - 0.5, 0.0, small - 1.0);
  *index = static_cast<int>(place);
  *fraction = static_cast<int16_t>(std::min(32767.0, std::floor((place - *index) * 32768 + 0.5)));
}

// exp(x) for x <= 0 from products alone: libraries differ in the last bit of theirs.
float exponential(double x) {
  double sum = 1, term = 1;
  const double reduced = x / 1024;
  for (int i = 1; i < 16; ++i) sum += term *= reduced / i;
  for (int i = 0; i < 10; ++i) sum *= sum;
  return static_cast<float>(sum);
}

int copied_rows(const Picture& picture) {
  return picture.height <= kAlone / picture.width ? picture.height : kBand;
}

}  // namespace

FrameRenderer::FrameRenderer(const edgesdk_video_config& config, int threads)
    : config_(config), link_stride_((config.flow_width + 8 + 63) / 64 * 64) {
  const int width = config.flow_width, height = config.flow_height;
  fields_.width = width;
  fields_.height = height;
  fields_.stride = field_stride(width);
  const size_t plane = static_cast<size_t>(fields_.stride) * static_cast<size_t>(height);
  const size_t scratch = 12 * static_cast<size_t>(fields_.stride) * static_cast<size_t>(threads);
  int16_t* cursor = memory_.reserve<int16_t>(6 * plane + scratch + static_cast<size_t>(height));
  for (int16_t*& shift : fields_.shift) {
    shift = cursor;
    cursor += plane;
  }
  fields_.second = cursor;
  fields_.covered = cursor + plane;
  scratch_ = cursor + 2 * plane;
  fields_.row_holes = reinterpret_cast<uint8_t*>(scratch_ + scratch);

  for (int x = 0; x < config.width; x += kBlock) {
    ColumnBlock block;
    for (int i = 0; i < kBlock; ++i) {
      int index;
      place_on(std::min(x + i, config.width - 1), config.width, width, &index, &block.fraction[i]);
      block.index[i] = static_cast<int16_t>(index);
    }
    for (int i = 0; i < kBlock; ++i) {
      const int lane = block.index[i] - block.index[0];
      if (lane > 6) narrow_ = false;
      for (int byte = 0; byte < 2; ++byte) {
        block.near[2 * i + byte] = static_cast<uint8_t>((2 * lane + byte) & 15);
        block.far[2 * i + byte] = static_cast<uint8_t>((2 * lane + 2 + byte) & 15);
      }
    }
    columns_.push_back(block);
  }
  row_index_.resize(static_cast<size_t>(config.height));
  row_fraction_.resize(static_cast<size_t>(config.height));
  for (int y = 0; y < config.height; ++y)
    place_on(y, config.height, height, &row_index_[static_cast<size_t>(y)],
             &row_fraction_[static_cast<size_t>(y)]);
  for (int residual = 0; residual < 256; ++residual)
    falloff_.push_back(exponential(-residual / (255.0 * static_cast<double>(config.residual_sigma))));
}

void FrameRenderer::judge(const Frame& frame, const Frame& key, const Link& link,
                          const Kernels& kernels, ThreadPool& pool) const {
  const int height = config_.flow_height;
  pool.run((height + kBand - 1) / kBand, [&](int task, int) {
    ValidityTask work;
    work.forward = link.to_key;
    work.backward = link.from_key;
    work.frame = frame.small;
    work.key = key.small;
    work.slope = config_.occlusion_slope;
    work.offset = config_.occlusion_offset;
    work.largest_u = kLargestShift * static_cast<float>(config_.flow_width) / static_cast<float>(config_.width);
    work.largest_v = kLargestShift * static_cast<float>(height) / static_cast<float>(config_.height);
    work.valid = link.valid;
    work.residual = link.residual;
    work.stride = link_stride_;
    work.row_begin = task * kBand;
    work.row_end = std::min(height, work.row_begin + kBand);
    kernels.judge(work);
  });
}

void FrameRenderer::render(const Slot* a, const Link& link_a, const Slot* b, const Link& link_b,
                           float tau, const edgesdk_image& original, const edgesdk_image& output,
                           const Kernels& kernels, ThreadPool& pool) const {
  const int height = config_.flow_height;
  pool.run((height + kBand - 1) / kBand, [&](int task, int) {
    FieldsTask work;
    work.to_a = link_a.to_key;
    work.to_b = link_b.to_key;
    work.valid_a = a ? link_a.valid : nullptr;
    work.residual_a = a ? link_a.residual : nullptr;
    work.valid_b = b ? link_b.valid : nullptr;
    work.residual_b = b ? link_b.residual : nullptr;
    work.stride = link_stride_;
    work.falloff = falloff_.data();
    work.tau = tau;
    work.scale_x = static_cast<float>(config_.width) / static_cast<float>(config_.flow_width);
    work.scale_y = static_cast<float>(config_.height) / static_cast<float>(height);
    work.fields = fields_;
    work.row_begin = task * kBand;
    work.row_end = std::min(height, work.row_begin + kBand);
    kernels.make_fields(work);
  });
  const Slot& nearer = !a || (b && tau > 0.5f) ? *b : *a;
  pool.run((config_.height + kBand - 1) / kBand, [&](int task, int worker) {
    RenderTask work;
    work.fields = fields_;
    work.affine = nearer.affine;
    work.a = a ? a->painted : Picture{};
    work.b = b ? b->painted : Picture{};
    work.original = static_cast<const uint8_t*>(original.data);
    work.original_stride = static_cast<ptrdiff_t>(original.stride);
    work.original_channels = channels_of(original.format);
    work.output = static_cast<uint8_t*>(output.data);
    work.output_stride = static_cast<ptrdiff_t>(output.stride);
    work.output_channels = channels_of(output.format);
    work.width = config_.width;
    work.height = config_.height;
    work.columns = columns_.data();
    work.narrow = narrow_;
    work.row_index = row_index_.data();
    work.row_fraction = row_fraction_.data();
    work.scratch = scratch_ + 12 * fields_.stride * worker;
    work.row_begin = task * kBand;
    work.row_end = std::min(config_.height, work.row_begin + kBand);
    kernels.render(work);
  });
}

void widen_pixels(const uint8_t* rgb, int width, uint8_t* rgba) {
  // Four bytes at once but for the last pixel, after which nothing may be read.
  for (int x = 0; x < width; ++x) {
    std::memcpy(rgba + 4 * x, rgb + 3 * x, x + 1 < width ? 4 : 3);
    rgba[4 * x + 3] = 255;
  }
}

void narrow_pixels(const uint8_t* rgba, int width, uint8_t* rgb) {
  // Likewise: the fourth byte is the next pixel's first, which comes after it.
  for (int x = 0; x + 1 < width; ++x) std::memcpy(rgb + 3 * x, rgba + 4 * x, 4);
  std::memcpy(rgb + 3 * (width - 1), rgba + 4 * (width - 1), 3);
}

void import_picture(const edgesdk_image& image, const Picture& picture, ThreadPool& pool) {
  const int channels = channels_of(image.format), band = copied_rows(picture);
  pool.run((picture.height + band - 1) / band, [&](int task, int) {
    for (int y = task * band; y < std::min(picture.height, (task + 1) * band); ++y) {
      const uint8_t* in = static_cast<const uint8_t*>(image.data) + y * static_cast<ptrdiff_t>(image.stride);
      uint8_t* out = row_of(picture, y);
      if (channels == 4) {
        std::memcpy(out, in, 4 * static_cast<size_t>(picture.width));
      } else {
        widen_pixels(in, picture.width, out);
      }
    }
  });
  extend(picture);
}

void export_picture(const Picture& picture, const edgesdk_image& image, ThreadPool& pool) {
  const int channels = channels_of(image.format), band = copied_rows(picture);
  pool.run((picture.height + band - 1) / band, [&](int task, int) {
    for (int y = task * band; y < std::min(picture.height, (task + 1) * band); ++y) {
      const uint8_t* in = row_of(picture, y);
      uint8_t* out = static_cast<uint8_t*>(image.data) + y * static_cast<ptrdiff_t>(image.stride);
      if (channels == 4) {
        std::memcpy(out, in, 4 * static_cast<size_t>(picture.width));
      } else {
        narrow_pixels(in, picture.width, out);
      }
    }
  });
}

}  // namespace edgesdk
