// A video handle: two key frames, the present frame, and what relates them.
#pragma once

#include <memory>

#include "edgesdk.h"
#include "flow.h"
#include "interframe.h"
#include "thread_pool.h"
#include "upscale.h"

namespace edgesdk {

// Arguments are checked by the caller, except for what depends on the state.
class Video {
 public:
  explicit Video(const edgesdk_video_config& config);

  const edgesdk_video_config& config() const { return config_; }
  void set_key(int slot, const edgesdk_image& original);
  edgesdk_status set_key_from_frame(int slot);
  edgesdk_status set_painted(int slot, const edgesdk_image& painted);
  edgesdk_status promote();
  void set_frame(const edgesdk_image& original);
  edgesdk_status get_frame(const edgesdk_image& frame);
  edgesdk_status estimate(int use);
  void join_flows(const float* first, int64_t first_stride, const float* second,
                  int64_t second_stride, float* joined, int64_t joined_stride);
  edgesdk_status set_flow(int slot, const float* to_key, int64_t to_stride, const float* from_key,
                          int64_t from_stride);
  edgesdk_status get_flow(int slot, int direction, float* flow, int64_t stride) const;
  edgesdk_status get_validity(int slot, uint8_t* valid, uint8_t* residual, int64_t stride);
  edgesdk_status set_validity(int slot, const uint8_t* valid, const uint8_t* residual,
                              int64_t stride);
  edgesdk_status measure(int distance, edgesdk_measures& measures);
  edgesdk_status correlate(int slot, float& value);
  edgesdk_status render(int use, float tau, const edgesdk_image& original,
                        const edgesdk_image& output);
  void upscale(const edgesdk_image& painted, const edgesdk_image& original,
               const edgesdk_image* shrunk, const edgesdk_image& output);

 private:
  bool ready(int use, bool linked) const;
  Frame* read(const edgesdk_image& original);
  void become(int slot, Frame* original);
  void fit(Slot& slot);
  void link(int slot);
  void judge(int use);
  void forget_links();
  void take_flows(const float* to_key, int64_t to_stride, const float* from_key,
                  int64_t from_stride, const Link& link);

  edgesdk_video_config config_;
  const Kernels& kernels_;
  const FlowEffort effort_;
  ThreadPool pool_;
  FrameReader reader_;
  FrameRenderer renderer_;
  AffineFitter fitter_;
  GuidedUpscaler upscaler_;
  Frame frames_[4];
  Slot slots_[2];
  Frame* frame_ = nullptr; // the present one; null: not set
  std::unique_ptr<FlowEstimator> estimators_[4]; // slot A to, from; slot B to, from
  Link links_[2];
  Picture small_painted_{};
  Plane unused_grey_{};
  Buffer memory_;
};

}  // namespace edgesdk
