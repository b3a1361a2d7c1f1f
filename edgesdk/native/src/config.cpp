#include "config.h"

#include <algorithm>
#include <cmath>
#include <thread>

#include "processor.h"

namespace edgesdk {
namespace {

constexpr int kLongSide = 480, kShortSide = 270;

bool within(float x, float low, float high) { return std::isfinite(x) && x >= low && x <= high; }

}  // namespace

void fill_defaults(int32_t width, int32_t height, edgesdk_video_config& config) {
  config = {};
  config.struct_size = sizeof(edgesdk_video_config);
  config.width = width;
  config.height = height;
  const double across = width >= height ? kLongSide : kShortSide;
  const double down = width >= height ? kShortSide : kLongSide;
  const double scale = std::min({1.0, across / width, down / height});
  config.flow_width = std::max(1, static_cast<int>(std::lround(width * scale)));
  config.flow_height = std::max(1, static_cast<int>(std::lround(height * scale)));
  config.path = EDGESDK_PATH_AUTO;
  config.quality = EDGESDK_QUALITY_FAST;
  config.occlusion_slope = 0.01f;
  config.occlusion_offset = 0.5f;
  config.residual_sigma = 0.05f;
  config.affine_radius = 8;
  config.affine_epsilon = 1e-3f;
  config.cut_correlation = 0.6f;
  config.occluded_fraction = 0.35f;
  config.mean_residual = 10.0f / 255;
  config.longest_interval = 16;
}

edgesdk_status complete(edgesdk_video_config& c) {
  if (c.width < 1 || c.height < 1 || c.width > EDGESDK_MAX_SIZE || c.height > EDGESDK_MAX_SIZE)
    return EDGESDK_ERROR_SIZE;
  if (c.flow_width < 1 || c.flow_height < 1 || c.flow_width > std::min(c.width, EDGESDK_MAX_FLOW_SIZE) ||
      c.flow_height > std::min(c.height, EDGESDK_MAX_FLOW_SIZE))
    return EDGESDK_ERROR_SIZE;
  if (c.threads < 0 || c.threads > EDGESDK_MAX_THREADS) return EDGESDK_ERROR_VALUE;
  if (c.quality < EDGESDK_QUALITY_FAST || c.quality > EDGESDK_QUALITY_PRECISE)
    return EDGESDK_ERROR_VALUE;
  if (!within(c.occlusion_slope, 0, 1e6f) || !within(c.occlusion_offset, 0, 1e6f) ||
      !within(c.residual_sigma, 1e-4f, 1e6f) || !within(c.affine_epsilon, 1e-8f, 1e6f) ||
      !within(c.cut_correlation, -1, 1) || !within(c.occluded_fraction, 0, 1) ||
      !within(c.mean_residual, 0, 1))
    return EDGESDK_ERROR_VALUE;
  if (c.affine_radius < 1 || c.affine_radius > 16 || c.longest_interval < 1)
    return EDGESDK_ERROR_VALUE;
  if (c.path < EDGESDK_PATH_AUTO || c.path > EDGESDK_PATH_AVX512) return EDGESDK_ERROR_VALUE;
  if (c.path == EDGESDK_PATH_AUTO) c.path = best_path();
  if (!kernels_of(c.path)) return EDGESDK_ERROR_UNSUPPORTED;
  if (c.threads == 0)
    c.threads = std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, 4);
  return EDGESDK_OK;
}

}  // namespace edgesdk
