// A picture scaled down by area, without a handle.
#pragma once

#include "edgesdk.h"

namespace edgesdk {

// `small` is RGBA or RGB and nowhere larger than `original`; as GuidedUpscaler sees it.
void shrink(const edgesdk_image& original, const edgesdk_image& small);

}  // namespace edgesdk
