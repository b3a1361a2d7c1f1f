// Defaults and limits of a video handle's configuration.
#pragma once

#include "edgesdk.h"

namespace edgesdk {

void fill_defaults(int32_t width, int32_t height, edgesdk_video_config& config);
// EDGESDK_OK when every field is in its range. Chooses threads and path where they are 0.
edgesdk_status complete(edgesdk_video_config& config);

}  // namespace edgesdk
