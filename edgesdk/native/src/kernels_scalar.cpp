// The kernels in portable C++.
#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels.h"
#include "simd_scalar.h"

namespace edgesdk {
namespace scalar {
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
}  // namespace scalar

const Kernels& kernels_scalar() {
  static const Kernels kernels = {
      "scalar", scalar::downscale, scalar::extend, scalar::halve, scalar::differentiate,
      scalar::search, scalar::refine, scalar::double_flow, scalar::join, scalar::take_flow,
      scalar::judge, scalar::make_fields, scalar::render, scalar::enlarge, scalar::fit};
  return kernels;
}

}  // namespace edgesdk
