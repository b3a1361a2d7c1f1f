// Dense optical flow between two frames: inverse search and refinement from the coarsest level on.
#pragma once

#include <array>
#include <vector>

#include "frame.h"

namespace edgesdk {

// How much work a flow is; a finer `finest` level sees smaller parts move.
struct FlowEffort {
  int finest;
  int patch_step;
  int descents;     // iterations of a patch, at most
  int outer, inner; // of the refinement
  int coarse_outer; // above the finest level, where work costs little and what is missed stays so
  float smoothness;
};

FlowEffort effort_of(int32_t quality, size_t levels);

// The memory of one flow; different estimators may work at the same time.
class FlowEstimator {
 public:
  FlowEstimator(const std::vector<std::array<int, 2>>& sizes, const FlowEffort& effort);
  // Displacements, in pixels of the finest level, from the pixels of `from` to where they lie in
  // `to`.
  void estimate(const Frame& from, const Frame& to, const Kernels& kernels);
  const Flow& flow() const { return flows_[0]; }

 private:
  void refine(const Frame& from, const Frame& to, int level, int outer, const Kernels& kernels);

  FlowEffort effort_;
  std::vector<Flow> flows_; // of every level
  std::vector<PatchGrid> grids_;
  RefineScratch scratch_{};
  float* field_[12];
  float* sums_[3];
  Plane planes_[4];
  Buffer memory_, patch_memory_;
};

}  // namespace edgesdk
