#include "flow.h"

#include <algorithm>
#include <cmath>

#include "edgesdk.h"

namespace edgesdk {
namespace {

int patches_along(int size, int step) {
  return size > kPatch ? (size - kPatch + step - 1) / step + 1 : 1;
}

// Split rows: even columns, odd columns, each with room for vectors that run over either end.
ptrdiff_t half_row(int width) { return ((width + 1) / 2 + 15) / 16 * 16 + 16; }

}  // namespace

FlowEffort effort_of(int32_t quality, size_t levels) {
  FlowEffort effort = {1, 6, 6, 3, 3, 5, 8.0f};
  if (quality == EDGESDK_QUALITY_BALANCED) effort = {0, 6, 3, 3, 3, 3, 8.0f};
  if (quality == EDGESDK_QUALITY_PRECISE) effort = {0, 5, 8, 3, 5, 5, 8.0f};
  effort.finest = std::min(effort.finest, static_cast<int>(levels) - 1);
  // A pyramid this flat belongs to a picture so small that its finest level costs nothing.
  if (levels <= 3) effort.finest = 0;
  return effort;
}

FlowEstimator::FlowEstimator(const std::vector<std::array<int, 2>>& sizes, const FlowEffort& effort)
    : effort_(effort) {
  const auto& largest = sizes[static_cast<size_t>(effort.finest)];
  const ptrdiff_t row = 2 * half_row(largest[0]);
  const size_t field_size = static_cast<size_t>(row) * static_cast<size_t>(largest[1] + 2) + 32;
  size_t floats = 12 * field_size;
  for (const auto& size : sizes)
    for (int i = 0; i < 2; ++i) lay_plane(nullptr, &floats, size[0], size[1]);
  for (int i = 0; i < 7; ++i) lay_plane(nullptr, &floats, largest[0], largest[1]);
  size_t patches = 0;
  for (const auto& size : sizes) {
    grids_.push_back({patches_along(size[0], effort.patch_step),
                      patches_along(size[1], effort.patch_step), effort.patch_step, nullptr});
    patches += static_cast<size_t>(grids_.back().columns) * static_cast<size_t>(grids_.back().rows);
  }
  float* cursor = memory_.reserve<float>(floats);
  for (const auto& size : sizes) {
    Flow flow;
    flow.u = lay_plane(&cursor, nullptr, size[0], size[1]);
    flow.v = lay_plane(&cursor, nullptr, size[0], size[1]);
    flows_.push_back(flow);
  }
  for (float*& sums : sums_) sums = lay_plane(&cursor, nullptr, largest[0], largest[1]).data;
  for (Plane& plane : planes_) plane = lay_plane(&cursor, nullptr, largest[0], largest[1]);
  for (float*& field : field_) {
    field = cursor;
    cursor += field_size;
  }
  Patch* patch = patch_memory_.reserve<Patch>(patches);
  for (PatchGrid& grid : grids_) {
    grid.patches = patch;
    patch += static_cast<size_t>(grid.columns) * static_cast<size_t>(grid.rows);
  }
}

void FlowEstimator::estimate(const Frame& from, const Frame& to, const Kernels& kernels) {
  const int coarsest = static_cast<int>(from.levels.size()) - 1;
  for (int i = coarsest; i >= effort_.finest; --i) {
    const size_t at = static_cast<size_t>(i);
    SearchTask search;
    search.from = from.levels[at];
    search.to = to.levels[at].grey;
    search.coarse = i < coarsest ? flows_[at + 1] : Flow{};
    search.grid = grids_[at];
    search.iterations = effort_.descents;
    search.flow = flows_[at];
    std::copy_n(sums_, 3, search.sums);
    kernels.search(search);
    refine(from, to, i, i > effort_.finest ? effort_.coarse_outer : effort_.outer, kernels);
  }
  for (int i = effort_.finest; i > 0; --i)
    kernels.double_flow(flows_[static_cast<size_t>(i)], flows_[static_cast<size_t>(i - 1)]);
}

void FlowEstimator::refine(const Frame& from, const Frame& to, int level, int outer,
                           const Kernels& kernels) {
  const size_t at = static_cast<size_t>(level);
  const Plane& shape = to.levels[at].grey;
  RefineTask task;
  task.from = from.levels[at].grey;
  task.to = shape;
  task.flow = flows_[at];
  task.scratch.half = half_row(shape.width);
  task.scratch.row = 2 * task.scratch.half;
  // A row above the first, and rows begin at a cache line.
  for (int k = 0; k < 12; ++k) task.scratch.field[k] = field_[k] + task.scratch.row + 16;
  // The scratch planes take the level's layout, which is never larger than their own.
  task.scratch.warped = {planes_[0].data, shape.width, shape.height, shape.stride};
  task.scratch.mean = {planes_[1].data, shape.width, shape.height, shape.stride};
  task.outer = outer;
  task.inner = effort_.inner;
  task.smoothness = effort_.smoothness;
  kernels.refine(task);
}

}  // namespace edgesdk
