// The kernels in AVX2; this file alone is compiled with -mavx2.
#if defined(__AVX2__)
#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels.h"
#include "simd_avx2.h"

namespace edgesdk {
namespace avx2 {
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
}  // namespace avx2

const Kernels& kernels_avx2() {
  static const Kernels kernels = {
      "avx2", avx2::downscale, avx2::extend, avx2::halve, avx2::differentiate,
      avx2::search, avx2::refine, avx2::double_flow, avx2::join, avx2::take_flow,
      avx2::judge, avx2::make_fields, avx2::render, avx2::enlarge, avx2::fit};
  return kernels;
}

}  // namespace edgesdk
#endif
