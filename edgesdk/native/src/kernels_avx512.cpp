// The kernels in AVX-512; this file alone is compiled with its options.
#if defined(__AVX512BW__) && defined(__AVX512VL__)
#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels.h"
#include "simd_avx512.h"

namespace edgesdk {
namespace avx512 {
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
}  // namespace avx512

const Kernels& kernels_avx512() {
  static const Kernels kernels = {
      "avx512", avx512::downscale, avx512::extend, avx512::halve, avx512::differentiate,
      avx512::search, avx512::refine, avx512::double_flow, avx512::join, avx512::take_flow,
      avx512::judge, avx512::make_fields, avx512::render, avx512::enlarge, avx512::fit};
  return kernels;
}

}  // namespace edgesdk
#endif
