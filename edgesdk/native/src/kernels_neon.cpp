// The kernels in NEON.
#if defined(__aarch64__)
#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels.h"
#include "simd_neon.h"

namespace edgesdk {
namespace neon {
namespace {
#include "kernels/scaling.h"
#include "kernels/interpolation.h"
#include "kernels/sampling.h"
#include "kernels/search.h"
#include "kernels/refine.h"
#include "kernels/joining.h"
#include "kernels/validity.h"
#include "kernels/render.h"
#include "kernels/enlarging.h"
#include "kernels/fitting.h"
}  // namespace
}  // namespace neon

const Kernels& kernels_neon() {
  static const Kernels kernels = {
      "neon", neon::downscale, neon::extend, neon::halve, neon::differentiate,
      neon::search, neon::refine, neon::double_flow, neon::join, neon::take_flow,
      neon::judge, neon::make_fields, neon::render, neon::enlarge, neon::fit};
  return kernels;
}

}  // namespace edgesdk
#endif
