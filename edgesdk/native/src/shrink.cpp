#include "shrink.h"

#include "buffer.h"
#include "frame.h"
#include "interframe.h"
#include "processor.h"

namespace edgesdk {

void shrink(const edgesdk_image& original, const edgesdk_image& small) {
  ThreadPool alone(1);
  const FrameReader reader(original.width, original.height, small.width, small.height, 1, 0);
  size_t floats = 0, bytes = 0;
  lay_plane(nullptr, &floats, small.width, small.height);
  lay_picture(nullptr, &bytes, small.width, small.height);
  Buffer memory;
  float* cursor = memory.reserve<float>(floats + bytes / sizeof(float) + 16);
  const Plane grey = lay_plane(&cursor, nullptr, small.width, small.height);
  uint8_t* place = reinterpret_cast<uint8_t*>(cursor);
  const Picture picture = lay_picture(&place, nullptr, small.width, small.height);
  reader.shrink(original, *kernels_of(best_path()), alone, picture, grey);
  export_picture(picture, small, alone);
}

}  // namespace edgesdk
