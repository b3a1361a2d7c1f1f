// Which instruction sets this processor has.
#pragma once

#include <cstdint>

#include "kernels.h"

namespace edgesdk {

// The kernels of an EDGESDK_PATH_..., or null where this processor or this build lacks them.
const Kernels* kernels_of(int32_t path);
// The fastest path there is: never EDGESDK_PATH_AUTO.
int32_t best_path();

}  // namespace edgesdk
