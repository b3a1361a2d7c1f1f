#include "affine.h"

#include <algorithm>

namespace edgesdk {

AffineFitter::AffineFitter(int width, int height, int radius, float epsilon)
    : width_(width), height_(height), radius_(radius), epsilon_(epsilon * 255 * 255),
      stride_(field_stride(width)), sums_stride_((width + 2 * radius + 31) / 16 * 16) {
  const size_t sums = 4 * static_cast<size_t>(sums_stride_);
  sums_ = memory_.reserve<int32_t>(3 * sums + 6 * plane_size());
  fitted_ = sums_ + 3 * sums;
  for (int x = 0; x < width; ++x)
    columns_.push_back(static_cast<float>(std::min(x + radius, width - 1) - std::max(x - radius, 0) + 1));
  columns_.insert(columns_.end(), 8, 1.0f);
}

size_t AffineFitter::plane_size() const {
  return static_cast<size_t>(stride_) * static_cast<size_t>(height_);
}

void AffineFitter::fit(const Picture& original, const Picture& painted, const Kernels& kernels,
                       ThreadPool& pool, const AffineMap& map) const {
  pool.run(3, [&](int channel, int) {
    FitTask work;
    work.original = original;
    work.painted = painted;
    work.channel = channel;
    work.radius = radius_;
    work.epsilon = epsilon_;
    work.columns = columns_.data();
    work.sums = sums_ + 4 * channel * sums_stride_;
    work.sums_stride = sums_stride_;
    work.gains = fitted_ + 2 * static_cast<size_t>(channel) * plane_size();
    work.biases = work.gains + plane_size();
    work.gain = map.gain[channel];
    work.bias = map.bias[channel];
    work.stride = stride_;
    kernels.fit(work);
  });
}

}  // namespace edgesdk
