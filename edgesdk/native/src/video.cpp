#include "video.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "processor.h"

namespace edgesdk {
namespace {

constexpr int kJoinedRows = 16;
constexpr int64_t kFloat = sizeof(float);

const float* pairs(const float* flow, int64_t stride, int y) {
  return reinterpret_cast<const float*>(reinterpret_cast<const char*>(flow) + y * static_cast<ptrdiff_t>(stride));
}

}  // namespace

Video::Video(const edgesdk_video_config& config)
    : config_(config), kernels_(*kernels_of(config.path)),
      effort_(effort_of(config.quality,
                        FrameReader::pyramid(config.flow_width, config.flow_height).size())),
      pool_(config.threads),
      reader_(config.width, config.height, config.flow_width, config.flow_height, config.threads,
              effort_.finest),
      renderer_(config, config.threads),
      fitter_(config.flow_width, config.flow_height, config.affine_radius, config.affine_epsilon),
      upscaler_(config.width, config.height, config.threads) {
  for (Frame& frame : frames_) reader_.allocate(frame);
  const size_t plane = fitter_.plane_size();
  for (Slot& slot : slots_) {
    size_t bytes = 0;
    lay_picture(nullptr, &bytes, config.width, config.height);
    int16_t* maps = slot.memory.reserve<int16_t>(6 * plane + bytes / sizeof(int16_t) + 64);
    for (int c = 0; c < 3; ++c) {
      slot.affine.gain[c] = maps + static_cast<size_t>(2 * c) * plane;
      slot.affine.bias[c] = slot.affine.gain[c] + plane;
    }
    uint8_t* place = reinterpret_cast<uint8_t*>(maps + 6 * plane);
    slot.painted = lay_picture(&place, nullptr, config.width, config.height);
  }
  for (auto& estimator : estimators_)
    estimator = std::make_unique<FlowEstimator>(reader_.sizes(), effort_);

  const size_t link_bytes = static_cast<size_t>(renderer_.link_stride()) * static_cast<size_t>(config.flow_height) + 64;
  size_t floats = 0, bytes = 0;
  lay_plane(nullptr, &floats, config.flow_width, config.flow_height);
  lay_picture(nullptr, &bytes, config.flow_width, config.flow_height);
  float* cursor = memory_.reserve<float>(floats + (4 * link_bytes + bytes) / sizeof(float) + 16);
  unused_grey_ = lay_plane(&cursor, nullptr, config.flow_width, config.flow_height);
  uint8_t* place = reinterpret_cast<uint8_t*>(cursor);
  small_painted_ = lay_picture(&place, nullptr, config.flow_width, config.flow_height);
  for (int slot = 0; slot < 2; ++slot) {
    links_[slot].to_key = estimators_[2 * slot]->flow();
    links_[slot].from_key = estimators_[2 * slot + 1]->flow();
    links_[slot].valid = place;
    links_[slot].residual = place + link_bytes;
    place += 2 * link_bytes;
  }
}

void Video::forget_links() { links_[0].set = links_[1].set = false; }

bool Video::ready(int use, bool linked) const {
  if (!frame_) return false;
  for (int slot = 0; slot < 2; ++slot)
    if (use & (1 << slot))
      if (!slots_[slot].original || (linked && !links_[slot].set)) return false;
  return true;
}

// There are as many frames as can be in use, and one more.
Frame* Video::read(const edgesdk_image& original) {
  for (Frame& frame : frames_)
    if (&frame != frame_ && &frame != slots_[0].original && &frame != slots_[1].original) {
      reader_.read(original, kernels_, pool_, frame);
      return &frame;
    }
  return nullptr;
}

void Video::become(int slot, Frame* original) {
  slots_[slot].original = original;
  slots_[slot].has_painted = false;
  links_[slot].set = false;
}

void Video::set_key(int slot, const edgesdk_image& original) {
  slots_[slot].original = nullptr;
  become(slot, read(original));
}

edgesdk_status Video::set_key_from_frame(int slot) {
  if (!frame_) return EDGESDK_ERROR_STATE;
  become(slot, frame_);
  return EDGESDK_OK;
}

edgesdk_status Video::set_painted(int slot, const edgesdk_image& painted) {
  Slot& key = slots_[slot];
  if (!key.original) return EDGESDK_ERROR_STATE;
  import_picture(painted, key.painted, pool_);
  key.has_painted = true;
  key.fitted = false;
  return EDGESDK_OK;
}

// Left until it is needed: a painting that is only mixed into another needs no colour map.
void Video::fit(Slot& slot) {
  if (slot.fitted) return;
  const edgesdk_image painted = {slot.painted.data, slot.painted.width, slot.painted.height,
                                 static_cast<int64_t>(slot.painted.stride), EDGESDK_FORMAT_RGBA8888};
  reader_.shrink(painted, kernels_, pool_, small_painted_, unused_grey_);
  fitter_.fit(slot.original->small, small_painted_, kernels_, pool_, slot.affine);
  slot.fitted = true;
}

edgesdk_status Video::promote() {
  if (!slots_[1].original) return EDGESDK_ERROR_STATE;
  std::swap(slots_[0], slots_[1]);
  slots_[1].original = nullptr;
  slots_[1].has_painted = false;
  forget_links();
  return EDGESDK_OK;
}

void Video::set_frame(const edgesdk_image& original) {
  frame_ = nullptr;
  frame_ = read(original);
  forget_links();
}

edgesdk_status Video::get_frame(const edgesdk_image& frame) {
  if (!frame_) return EDGESDK_ERROR_STATE;
  export_picture(frame_->small, frame, pool_);
  return EDGESDK_OK;
}

void Video::link(int slot) {
  links_[slot].set = true;
  links_[slot].judged = false;
}

// Left until it is needed: of most flows only the joint with another is.
void Video::judge(int use) {
  for (int slot = 0; slot < 2; ++slot) {
    Link& link = links_[slot];
    if (!(use & (1 << slot)) || link.judged) continue;
    renderer_.judge(*frame_, *slots_[slot].original, link, kernels_, pool_);
    link.judged = true;
  }
}

edgesdk_status Video::estimate(int use) {
  if (!ready(use, false)) return EDGESDK_ERROR_STATE;
  // Left until now: a frame whose flows are given needs no levels.
  reader_.deepen(kernels_, *frame_);
  for (int slot = 0; slot < 2; ++slot)
    if (use & (1 << slot)) reader_.deepen(kernels_, *slots_[slot].original);
  // Whole flows are the tasks: nothing inside one waits, and their number suits a phone's cores.
  int tasks[4], count = 0;
  for (int direction = 0; direction < 4; ++direction)
    if (use & (1 << (direction / 2))) tasks[count++] = direction;
  pool_.run(count, [&](int task, int) {
    const int direction = tasks[task];
    const Frame& key = *slots_[direction / 2].original;
    const bool from_key = direction & 1;
    estimators_[direction]->estimate(from_key ? key : *frame_, from_key ? *frame_ : key, kernels_);
  });
  for (int slot = 0; slot < 2; ++slot)
    if (use & (1 << slot)) link(slot);
  return EDGESDK_OK;
}

void Video::join_flows(const float* first, int64_t first_stride, const float* second,
                       int64_t second_stride, float* joined, int64_t joined_stride) {
  const int height = config_.flow_height;
  pool_.run((height + kJoinedRows - 1) / kJoinedRows, [&](int task, int) {
    JoinTask work;
    work.first = first;
    work.second = second;
    work.joined = joined;
    work.first_stride = first_stride / kFloat;
    work.second_stride = second_stride / kFloat;
    work.joined_stride = joined_stride / kFloat;
    work.width = config_.flow_width;
    work.height = height;
    work.row_begin = task * kJoinedRows;
    work.row_end = std::min(height, work.row_begin + kJoinedRows);
    kernels_.join(work);
  });
}

// Here and now: it takes little longer than waking another thread.
void Video::take_flows(const float* to_key, int64_t to_stride, const float* from_key,
                       int64_t from_stride, const Link& link) {
  kernels_.take_flow({to_key, to_stride / kFloat, link.to_key});
  kernels_.take_flow({from_key, from_stride / kFloat, link.from_key});
}

edgesdk_status Video::set_flow(int slot, const float* to_key, int64_t to_stride,
                               const float* from_key, int64_t from_stride) {
  if (!ready(1 << slot, false)) return EDGESDK_ERROR_STATE;
  take_flows(to_key, to_stride, from_key, from_stride, links_[slot]);
  link(slot);
  return EDGESDK_OK;
}

edgesdk_status Video::get_flow(int slot, int direction, float* flow, int64_t stride) const {
  const Link& link = links_[slot];
  if (!link.set) return EDGESDK_ERROR_STATE;
  const Flow& from = direction == EDGESDK_FLOW_TO_KEY ? link.to_key : link.from_key;
  for (int y = 0; y < from.u.height; ++y) {
    float* out = const_cast<float*>(pairs(flow, stride, y));
    for (int x = 0; x < from.u.width; ++x) {
      out[2 * x] = row_of(from.u, y)[x];
      out[2 * x + 1] = row_of(from.v, y)[x];
    }
  }
  return EDGESDK_OK;
}

edgesdk_status Video::get_validity(int slot, uint8_t* valid, uint8_t* residual,
                                   int64_t stride) {
  const Link& link = links_[slot];
  if (!link.set) return EDGESDK_ERROR_STATE;
  judge(1 << slot);
  for (int y = 0; y < config_.flow_height; ++y) {
    const ptrdiff_t in = y * renderer_.link_stride(), out = y * static_cast<ptrdiff_t>(stride);
    const size_t bytes = static_cast<size_t>(config_.flow_width);
    if (valid) std::memcpy(valid + out, link.valid + in, bytes);
    if (residual) std::memcpy(residual + out, link.residual + in, bytes);
  }
  return EDGESDK_OK;
}

edgesdk_status Video::set_validity(int slot, const uint8_t* valid, const uint8_t* residual,
                                   int64_t stride) {
  Link& link = links_[slot];
  if (!link.set) return EDGESDK_ERROR_STATE;
  for (int y = 0; y < config_.flow_height; ++y) {
    const ptrdiff_t in = y * static_cast<ptrdiff_t>(stride), out = y * renderer_.link_stride();
    for (int x = 0; x < config_.flow_width; ++x) link.valid[out + x] = valid[in + x] ? 1 : 0;
    std::memcpy(link.residual + out, residual + in, static_cast<size_t>(config_.flow_width));
  }
  link.judged = true;
  return EDGESDK_OK;
}

edgesdk_status Video::measure(int distance, edgesdk_measures& measures) {
  if (!ready(EDGESDK_USE_A, true)) return EDGESDK_ERROR_STATE;
  judge(EDGESDK_USE_A);
  int64_t visible = 0, total = 0;
  for (int y = 0; y < config_.flow_height; ++y) {
    const uint8_t* valid = links_[0].valid + y * renderer_.link_stride();
    const uint8_t* residual = links_[0].residual + y * renderer_.link_stride();
    for (int x = 0; x < config_.flow_width; ++x) {
      visible += valid[x];
      total += valid[x] * residual[x];
    }
  }
  const int64_t pixels = static_cast<int64_t>(config_.flow_width) * config_.flow_height;
  correlate(0, measures.correlation);
  measures.occluded_fraction = static_cast<float>(static_cast<double>(pixels - visible) / static_cast<double>(pixels));
  measures.mean_residual = visible ? static_cast<float>(static_cast<double>(total) / (255.0 * static_cast<double>(visible))) : 0.0f;
  measures.reasons = 0;
  if (measures.correlation < config_.cut_correlation) measures.reasons |= EDGESDK_KEY_CUT;
  if (measures.occluded_fraction > config_.occluded_fraction) measures.reasons |= EDGESDK_KEY_OCCLUDED;
  if (measures.mean_residual > config_.mean_residual) measures.reasons |= EDGESDK_KEY_RESIDUAL;
  if (distance >= config_.longest_interval) measures.reasons |= EDGESDK_KEY_INTERVAL;
  return EDGESDK_OK;
}

edgesdk_status Video::correlate(int slot, float& value) {
  if (!ready(1 << slot, false)) return EDGESDK_ERROR_STATE;
  Frame& key = *slots_[slot].original;
  for (Frame* frame : {frame_, &key})
    if (!frame->counted) {
      count_colours(frame->small, frame->colours);
      frame->counted = true;
    }
  value = correlation(frame_->colours, key.colours);
  return EDGESDK_OK;
}

edgesdk_status Video::render(int use, float tau, const edgesdk_image& original,
                             const edgesdk_image& output) {
  const bool a = use & EDGESDK_USE_A, b = use & EDGESDK_USE_B;
  for (int slot = 0; slot < 2; ++slot)
    if ((use & (1 << slot)) && !slots_[slot].has_painted) return EDGESDK_ERROR_STATE;
  if ((a && tau == 0) || (b && tau == 1)) {
    export_picture(slots_[a && tau == 0 ? 0 : 1].painted, output, pool_);
    return EDGESDK_OK;
  }
  if (!ready(use, true)) return EDGESDK_ERROR_STATE;
  judge(use);
  fit(slots_[!a || (b && tau > 0.5f) ? 1 : 0]);
  renderer_.render(a ? &slots_[0] : nullptr, links_[0], b ? &slots_[1] : nullptr, links_[1], tau,
                   original, output, kernels_, pool_);
  return EDGESDK_OK;
}

void Video::upscale(const edgesdk_image& painted, const edgesdk_image& original,
                    const edgesdk_image* shrunk, const edgesdk_image& output) {
  upscaler_.upscale(painted, original, shrunk, output, kernels_, pool_);
}

}  // namespace edgesdk
