// The C functions: they check every argument and let no exception out.
#include <cmath>
#include <cstring>
#include <new>
#include <system_error>

#include "buffer.h"
#include "config.h"
#include "edgesdk.h"
#include "processor.h"
#include "shrink.h"
#include "video.h"

using edgesdk::Video;

struct edgesdk_video {
  explicit edgesdk_video(const edgesdk_video_config& config) : core(config) {}
  Video core;
};

namespace {

template <typename Body>
edgesdk_status guarded(const Body& body) noexcept {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return EDGESDK_ERROR_MEMORY;
  } catch (const std::system_error&) {
    return EDGESDK_ERROR_THREAD;
  } catch (...) {
    return EDGESDK_ERROR_INTERNAL;
  }
}

bool is_slot(int32_t slot) { return slot == EDGESDK_SLOT_A || slot == EDGESDK_SLOT_B; }
bool is_use(int32_t use) { return use >= EDGESDK_USE_A && use <= EDGESDK_USE_BOTH; }

edgesdk_status check_image(const edgesdk_image* image, int32_t width, int32_t height, bool grey) {
  if (!image || !image->data) return EDGESDK_ERROR_NULL;
  const int channels = edgesdk::channels_of(image->format);
  if (channels == 0 || (channels == 1 && !grey)) return EDGESDK_ERROR_FORMAT;
  if (image->width != width || image->height != height) return EDGESDK_ERROR_SIZE;
  // The upper bound keeps every offset within 48 bits.
  if (image->stride < static_cast<int64_t>(channels) * width || image->stride > (int64_t{1} << 32))
    return EDGESDK_ERROR_SIZE;
  return EDGESDK_OK;
}

edgesdk_status check_full(const edgesdk_video* video, const edgesdk_image* image, bool grey) {
  if (!video) return EDGESDK_ERROR_NULL;
  return check_image(image, video->core.config().width, video->core.config().height, grey);
}

// An original of the handle's size, or already of the flow size.
edgesdk_status check_original(const edgesdk_video* video, const edgesdk_image* image) {
  const edgesdk_status status = check_full(video, image, true);
  if (status != EDGESDK_ERROR_SIZE) return status;
  return check_image(image, video->core.config().flow_width, video->core.config().flow_height, true);
}

bool is_flow_stride(const edgesdk_video* video, int64_t stride) {
  return stride >= 8 * static_cast<int64_t>(video->core.config().flow_width) && stride % 4 == 0 &&
         stride / 4 * video->core.config().flow_height <= INT32_MAX;
}

// Of planes with a byte a pixel at flow size.
bool is_byte_stride(const edgesdk_video* video, int64_t stride) {
  return stride >= video->core.config().flow_width && stride <= (int64_t{1} << 32);
}

}  // namespace

extern "C" {

int32_t edgesdk_abi_version(void) { return EDGESDK_ABI_VERSION; }

const char* edgesdk_error_text(edgesdk_status status) {
  switch (status) {
    case EDGESDK_OK: return "no error";
    case EDGESDK_ERROR_NULL: return "a pointer that must not be null is null";
    case EDGESDK_ERROR_SIZE: return "a width, height or stride is out of range or not the handle's";
    case EDGESDK_ERROR_FORMAT: return "the pixel format is unknown or not taken by this call";
    case EDGESDK_ERROR_VALUE: return "a parameter is outside its range or not finite";
    case EDGESDK_ERROR_STATE: return "a key frame, a frame or a flow that this call needs is not set";
    case EDGESDK_ERROR_MEMORY: return "out of memory";
    case EDGESDK_ERROR_UNSUPPORTED: return "this processor does not have the instruction set";
    case EDGESDK_ERROR_THREAD: return "worker threads could not be started";
    case EDGESDK_ERROR_INTERNAL: return "an error inside the library";
    default: return "an unknown error code";
  }
}

int32_t edgesdk_path_available(int32_t path) {
  return path == EDGESDK_PATH_AUTO || edgesdk::kernels_of(path) ? 1 : 0;
}

int64_t edgesdk_allocation_count(void) { return edgesdk::Buffer::allocations(); }

edgesdk_status edgesdk_video_config_default(int32_t width, int32_t height,
                                            edgesdk_video_config* config) {
  if (!config) return EDGESDK_ERROR_NULL;
  if (width < 1 || height < 1 || width > EDGESDK_MAX_SIZE || height > EDGESDK_MAX_SIZE)
    return EDGESDK_ERROR_SIZE;
  edgesdk::fill_defaults(width, height, *config);
  return EDGESDK_OK;
}

edgesdk_status edgesdk_video_create(const edgesdk_video_config* config, edgesdk_video** video) {
  if (!config || !video) return EDGESDK_ERROR_NULL;
  if (config->struct_size != sizeof(edgesdk_video_config)) return EDGESDK_ERROR_VALUE;
  return guarded([&]() -> edgesdk_status {
    edgesdk_video_config completed = *config;
    const edgesdk_status status = edgesdk::complete(completed);
    if (status != EDGESDK_OK) return status;
    *video = new edgesdk_video(completed);
    return EDGESDK_OK;
  });
}

void edgesdk_video_destroy(edgesdk_video* video) { delete video; }

edgesdk_status edgesdk_video_config_get(const edgesdk_video* video, edgesdk_video_config* config) {
  if (!video || !config) return EDGESDK_ERROR_NULL;
  *config = video->core.config();
  return EDGESDK_OK;
}

edgesdk_status edgesdk_video_set_key(edgesdk_video* video, int32_t slot,
                                     const edgesdk_image* original) {
  const edgesdk_status status = check_original(video, original);
  if (status != EDGESDK_OK) return status;
  if (!is_slot(slot)) return EDGESDK_ERROR_VALUE;
  return guarded([&]() -> edgesdk_status {
    video->core.set_key(slot, *original);
    return EDGESDK_OK;
  });
}

edgesdk_status edgesdk_video_set_key_from_frame(edgesdk_video* video, int32_t slot) {
  if (!video) return EDGESDK_ERROR_NULL;
  if (!is_slot(slot)) return EDGESDK_ERROR_VALUE;
  return guarded([&] { return video->core.set_key_from_frame(slot); });
}

edgesdk_status edgesdk_video_set_painted(edgesdk_video* video, int32_t slot,
                                         const edgesdk_image* painted) {
  const edgesdk_status status = check_full(video, painted, false);
  if (status != EDGESDK_OK) return status;
  if (!is_slot(slot)) return EDGESDK_ERROR_VALUE;
  return guarded([&] { return video->core.set_painted(slot, *painted); });
}

edgesdk_status edgesdk_video_promote(edgesdk_video* video) {
  if (!video) return EDGESDK_ERROR_NULL;
  return guarded([&] { return video->core.promote(); });
}

edgesdk_status edgesdk_video_set_frame(edgesdk_video* video, const edgesdk_image* original) {
  const edgesdk_status status = check_original(video, original);
  if (status != EDGESDK_OK) return status;
  return guarded([&]() -> edgesdk_status {
    video->core.set_frame(*original);
    return EDGESDK_OK;
  });
}

edgesdk_status edgesdk_video_get_frame(edgesdk_video* video, const edgesdk_image* frame) {
  if (!video) return EDGESDK_ERROR_NULL;
  const edgesdk_status status = check_image(frame, video->core.config().flow_width,
                                            video->core.config().flow_height, false);
  if (status != EDGESDK_OK) return status;
  return guarded([&] { return video->core.get_frame(*frame); });
}

edgesdk_status edgesdk_video_estimate(edgesdk_video* video, int32_t use) {
  if (!video) return EDGESDK_ERROR_NULL;
  if (!is_use(use)) return EDGESDK_ERROR_VALUE;
  return guarded([&] { return video->core.estimate(use); });
}

edgesdk_status edgesdk_video_set_flow(edgesdk_video* video, int32_t slot, const float* to_key,
                                      int64_t to_key_stride, const float* from_key,
                                      int64_t from_key_stride) {
  if (!video || !to_key || !from_key) return EDGESDK_ERROR_NULL;
  if (!is_slot(slot)) return EDGESDK_ERROR_VALUE;
  if (!is_flow_stride(video, to_key_stride) || !is_flow_stride(video, from_key_stride))
    return EDGESDK_ERROR_SIZE;
  return guarded([&] {
    return video->core.set_flow(slot, to_key, to_key_stride, from_key, from_key_stride);
  });
}

edgesdk_status edgesdk_video_join_flows(edgesdk_video* video, const float* first,
                                        int64_t first_stride, const float* second,
                                        int64_t second_stride, float* joined,
                                        int64_t joined_stride) {
  if (!video || !first || !second || !joined) return EDGESDK_ERROR_NULL;
  for (const int64_t stride : {first_stride, second_stride, joined_stride})
    if (!is_flow_stride(video, stride)) return EDGESDK_ERROR_SIZE;
  if (joined == second) return EDGESDK_ERROR_VALUE;
  return guarded([&]() -> edgesdk_status {
    video->core.join_flows(first, first_stride, second, second_stride, joined, joined_stride);
    return EDGESDK_OK;
  });
}

edgesdk_status edgesdk_video_get_flow(const edgesdk_video* video, int32_t slot, int32_t direction,
                                      float* flow, int64_t stride) {
  if (!video || !flow) return EDGESDK_ERROR_NULL;
  if (!is_slot(slot) || direction < EDGESDK_FLOW_TO_KEY || direction > EDGESDK_FLOW_FROM_KEY)
    return EDGESDK_ERROR_VALUE;
  if (!is_flow_stride(video, stride)) return EDGESDK_ERROR_SIZE;
  return guarded([&] { return video->core.get_flow(slot, direction, flow, stride); });
}

edgesdk_status edgesdk_video_get_validity(edgesdk_video* video, int32_t slot, uint8_t* valid,
                                          uint8_t* residual, int64_t stride) {
  if (!video) return EDGESDK_ERROR_NULL;
  if (!is_slot(slot)) return EDGESDK_ERROR_VALUE;
  if (!is_byte_stride(video, stride)) return EDGESDK_ERROR_SIZE;
  return guarded([&] { return video->core.get_validity(slot, valid, residual, stride); });
}

edgesdk_status edgesdk_video_set_validity(edgesdk_video* video, int32_t slot,
                                          const uint8_t* valid, const uint8_t* residual,
                                          int64_t stride) {
  if (!video || !valid || !residual) return EDGESDK_ERROR_NULL;
  if (!is_slot(slot)) return EDGESDK_ERROR_VALUE;
  if (!is_byte_stride(video, stride)) return EDGESDK_ERROR_SIZE;
  return guarded([&] { return video->core.set_validity(slot, valid, residual, stride); });
}

edgesdk_status edgesdk_video_measure(edgesdk_video* video, int32_t distance,
                                     edgesdk_measures* measures) {
  if (!video || !measures) return EDGESDK_ERROR_NULL;
  if (distance < 1) return EDGESDK_ERROR_VALUE;
  return guarded([&] { return video->core.measure(distance, *measures); });
}

edgesdk_status edgesdk_video_correlation(edgesdk_video* video, int32_t slot,
                                         float* correlation) {
  if (!video || !correlation) return EDGESDK_ERROR_NULL;
  if (!is_slot(slot)) return EDGESDK_ERROR_VALUE;
  return guarded([&] { return video->core.correlate(slot, *correlation); });
}

edgesdk_status edgesdk_video_render(edgesdk_video* video, int32_t use, float tau,
                                    const edgesdk_image* original, const edgesdk_image* output) {
  edgesdk_status status = check_full(video, original, true);
  if (status == EDGESDK_OK) status = check_full(video, output, false);
  if (status != EDGESDK_OK) return status;
  if (!is_use(use) || !(tau >= 0 && tau <= 1)) return EDGESDK_ERROR_VALUE;
  return guarded([&] { return video->core.render(use, tau, *original, *output); });
}

edgesdk_status edgesdk_video_shrink(const edgesdk_image* original, const edgesdk_image* small) {
  if (!original || !small) return EDGESDK_ERROR_NULL;
  if (original->width < 1 || original->height < 1 || original->width > EDGESDK_MAX_SIZE ||
      original->height > EDGESDK_MAX_SIZE || small->width < 1 || small->height < 1 ||
      small->width > original->width || small->height > original->height)
    return EDGESDK_ERROR_SIZE;
  edgesdk_status status = check_image(original, original->width, original->height, true);
  if (status == EDGESDK_OK) status = check_image(small, small->width, small->height, false);
  if (status != EDGESDK_OK) return status;
  return guarded([&]() -> edgesdk_status {
    edgesdk::shrink(*original, *small);
    return EDGESDK_OK;
  });
}

edgesdk_status edgesdk_video_upscale(edgesdk_video* video, const edgesdk_image* painted,
                                     const edgesdk_image* original, const edgesdk_image* shrunk,
                                     const edgesdk_image* output) {
  edgesdk_status status = check_full(video, original, true);
  if (status == EDGESDK_OK) status = check_full(video, output, false);
  if (status != EDGESDK_OK) return status;
  if (!painted) return EDGESDK_ERROR_NULL;
  if (painted->width < 1 || painted->height < 1 || painted->width > output->width ||
      painted->height > output->height)
    return EDGESDK_ERROR_SIZE;
  status = check_image(painted, painted->width, painted->height, false);
  if (status == EDGESDK_OK && shrunk)
    status = check_image(shrunk, painted->width, painted->height, false);
  if (status != EDGESDK_OK) return status;
  return guarded([&]() -> edgesdk_status {
    video->core.upscale(*painted, *original, shrunk, *output);
    return EDGESDK_OK;
  });
}

}  // extern "C"
