#include "processor.h"

#include <initializer_list>

#include "edgesdk.h"

namespace edgesdk {

const Kernels* kernels_of(int32_t path) {
  if (path == EDGESDK_PATH_SCALAR) return &kernels_scalar();
#if defined(__x86_64__)
  // The builtin also asks the operating system whether it keeps the wide registers.
  if (path == EDGESDK_PATH_AVX2 && __builtin_cpu_supports("avx2")) return &kernels_avx2();
  if (path == EDGESDK_PATH_AVX512 && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi"))
    return &kernels_avx512();
#endif
#if defined(__aarch64__)
  if (path == EDGESDK_PATH_NEON) return &kernels_neon();
#endif
  return nullptr;
}

int32_t best_path() {
  for (const int32_t path : {EDGESDK_PATH_AVX512, EDGESDK_PATH_AVX2, EDGESDK_PATH_NEON})
    if (kernels_of(path)) return path;
  return EDGESDK_PATH_SCALAR;
}

}  // namespace edgesdk
