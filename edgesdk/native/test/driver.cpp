// A program that uses the core as an app does, with random sizes, strides, formats and flows.
//
//   edgesdk_driver random SEED ROUNDS        every function, sound and unsound arguments
//   edgesdk_driver allocations               exits with 1 when a frame allocates after warm-up
//   edgesdk_driver write PATH SEED FILE      pictures and flows of fixed scenes, to compare
//
// Build it with sanitizers to find reads and writes outside the pictures: each lies in a block of
// exactly its own size.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "edgesdk.h"

namespace {

long long allocated = 0;

// The same numbers on every machine, unlike the distributions of <random>.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 2654435761u + 88172645463325252u) {}
  uint32_t next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return static_cast<uint32_t>(state_ >> 16);
  }
  int between(int low, int high) { return low + static_cast<int>(next() % static_cast<uint32_t>(high - low + 1)); }
  float real() { return static_cast<float>(next() % 65536) / 65536.0f; }

 private:
  uint64_t state_;
};

int channels_of(int format) { return format == EDGESDK_FORMAT_RGBA8888 ? 4 : format == EDGESDK_FORMAT_RGB888 ? 3 : 1; }

// A picture in memory that ends with its last pixel.
struct Picture {
  Picture(int width, int height, int format, int padding) {
    const int channels = channels_of(format);
    const int64_t stride = static_cast<int64_t>(width) * channels + padding;
    bytes.reset(new uint8_t[static_cast<size_t>(stride * (height - 1) + width * channels)]);
    size = static_cast<size_t>(stride * (height - 1) + width * channels);
    std::memset(bytes.get(), 0, size);
    image = {bytes.get(), width, height, stride, format};
  }
  std::unique_ptr<uint8_t[]> bytes;
  size_t size = 0;
  edgesdk_image image{};
};

// Smooth texture, moved by (dx, dy): integer arithmetic, so the same everywhere.
void paint(Picture& picture, int dx, int dy, uint32_t key) {
  const int channels = channels_of(picture.image.format);
  for (int y = 0; y < picture.image.height; ++y)
    for (int x = 0; x < picture.image.width; ++x)
      for (int c = 0; c < channels; ++c) {
        const int u = x - dx, v = y - dy;
        const int a = (u * 5 + v * 3 + c * 40 + static_cast<int>(key % 97)) & 255;
        const int b = (u * u / 16 - v * 7 + static_cast<int>(key % 31)) & 511;
        const int wave = (a < 128 ? a : 255 - a) + (b < 256 ? b : 511 - b) / 2;
        picture.bytes[static_cast<size_t>(y * picture.image.stride + x * channels + c)] =
            static_cast<uint8_t>(wave > 255 ? 255 : wave);
      }
}

std::vector<float> random_flow(Random& random, int width, int height) {
  std::vector<float> flow(static_cast<size_t>(2 * width * height));
  const float unsound[] = {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                           -std::numeric_limits<float>::infinity(), 3e38f, -3e38f, 1e7f, -1e-40f};
  const float range = random.between(0, 3) ? 4.0f : 4000.0f;
  for (float& value : flow)
    value = random.between(0, 9) ? (random.real() - 0.5f) * range : unsound[random.between(0, 6)];
  return flow;
}

void must(edgesdk_status status, const char* what) {
  if (status == EDGESDK_OK) return;
  std::fprintf(stderr, "%s: %s\n", what, edgesdk_error_text(status));
  std::exit(2);
}

void refused(edgesdk_status status, const char* what) {
  if (status != EDGESDK_OK) return;
  std::fprintf(stderr, "%s was accepted\n", what);
  std::exit(2);
}

void unsound_calls(edgesdk_video* video, Picture& good) {
  edgesdk_image image = good.image;
  refused(edgesdk_video_set_frame(nullptr, &image), "a null handle");
  refused(edgesdk_video_set_frame(video, nullptr), "a null image");
  image.data = nullptr;
  refused(edgesdk_video_set_frame(video, &image), "null data");
  image = good.image;
  image.width += 1;
  refused(edgesdk_video_set_frame(video, &image), "another width");
  image = good.image;
  image.stride = channels_of(image.format) * image.width - 1;
  refused(edgesdk_video_set_frame(video, &image), "a short stride");
  image.stride = -image.stride;
  refused(edgesdk_video_set_frame(video, &image), "a negative stride");
  image = good.image;
  image.format = 99;
  refused(edgesdk_video_set_frame(video, &image), "an unknown format");
  refused(edgesdk_video_set_key(video, 2, &good.image), "slot 2");
  refused(edgesdk_video_get_frame(video, nullptr), "nowhere to copy the frame to");
  refused(edgesdk_video_estimate(video, 0), "no slot");
  refused(edgesdk_video_render(video, 1, std::nanf(""), &good.image, &good.image), "tau NaN");
  refused(edgesdk_video_get_flow(video, 0, 0, nullptr, 8), "a null flow");
  refused(edgesdk_video_measure(video, 0, nullptr), "null measures");
}

void random_round(Random& random) {
  const int width = random.between(1, random.between(0, 2) ? 90 : 9);
  const int height = random.between(1, random.between(0, 2) ? 70 : 9);
  edgesdk_video_config config;
  must(edgesdk_video_config_default(width, height, &config), "config");
  config.flow_width = random.between(1, width);
  config.flow_height = random.between(1, height);
  config.threads = random.between(1, 4);
  config.quality = random.between(0, 2);
  config.affine_radius = random.between(1, 16);
  const int paths[] = {EDGESDK_PATH_AUTO, EDGESDK_PATH_SCALAR, EDGESDK_PATH_AVX2, EDGESDK_PATH_NEON,
                       EDGESDK_PATH_AVX512};
  config.path = paths[random.between(0, 4)];
  if (!edgesdk_path_available(config.path)) config.path = EDGESDK_PATH_SCALAR;
  edgesdk_video* video = nullptr;
  must(edgesdk_video_create(&config, &video), "create");

  const auto picture = [&](bool grey) {
    Picture made(width, height, random.between(1, grey ? 3 : 2), random.between(0, 5));
    paint(made, random.between(-6, 6), random.between(-6, 6), random.next());
    return made;
  };
  Picture first = picture(true), second = picture(true), frame = picture(true);
  Picture painted = picture(false), painted_too = picture(false), output = picture(false);
  unsound_calls(video, frame);
  refused(edgesdk_video_estimate(video, EDGESDK_USE_A), "a flow without frames");
  must(edgesdk_video_set_key(video, 0, &first.image), "set_key");
  must(edgesdk_video_set_painted(video, 0, &painted.image), "set_painted");
  must(edgesdk_video_set_key(video, 1, &second.image), "set_key");
  must(edgesdk_video_set_painted(video, 1, &painted_too.image), "set_painted");
  must(edgesdk_video_set_frame(video, &frame.image), "set_frame");
  must(edgesdk_video_estimate(video, EDGESDK_USE_BOTH), "estimate");
  for (int use = 1; use <= 3; ++use)
    must(edgesdk_video_render(video, use, random.real(), &frame.image, &output.image), "render");

  const int flow_width = config.flow_width, flow_height = config.flow_height;
  for (int slot = 0; slot < 2; ++slot) {
    const std::vector<float> to = random_flow(random, flow_width, flow_height);
    const std::vector<float> from = random_flow(random, flow_width, flow_height);
    must(edgesdk_video_set_flow(video, slot, to.data(), 8 * flow_width, from.data(), 8 * flow_width), "set_flow");
    std::vector<float> joined(to.size());
    must(edgesdk_video_join_flows(video, to.data(), 8 * flow_width, from.data(), 8 * flow_width, joined.data(), 8 * flow_width), "join_flows");
    refused(edgesdk_video_join_flows(video, to.data(), 8 * flow_width, from.data(), 8 * flow_width, nullptr, 8), "no joined flow");
    std::vector<float> flow(to.size());
    std::vector<uint8_t> valid(static_cast<size_t>(flow_width * flow_height)), residual(valid.size());
    must(edgesdk_video_get_flow(video, slot, 0, flow.data(), 8 * flow_width), "get_flow");
    must(edgesdk_video_get_validity(video, slot, valid.data(), residual.data(), flow_width), "get_validity");
    must(edgesdk_video_set_validity(video, slot, valid.data(), residual.data(), flow_width), "set_validity");
    refused(edgesdk_video_set_validity(video, slot, valid.data(), nullptr, flow_width), "no residual");
    for (size_t i = 0; i < valid.size(); ++i)
      if (valid[i] > 1 || (valid[i] == 1 && !std::isfinite(to[2 * i] + to[2 * i + 1]))) {
        std::fprintf(stderr, "a pixel without a flow is valid\n");
        std::exit(2);
      }
  }
  for (int use = 1; use <= 3; ++use)
    must(edgesdk_video_render(video, use, random.real(), &frame.image, &output.image), "render");
  edgesdk_measures measures;
  must(edgesdk_video_measure(video, random.between(1, 12), &measures), "measure");
  Picture small(flow_width, flow_height, random.between(1, 2), random.between(0, 3));
  must(edgesdk_video_get_frame(video, &small.image), "get_frame");
  must(edgesdk_video_set_frame(video, &small.image), "set_frame of the flow size");
  must(edgesdk_video_estimate(video, EDGESDK_USE_BOTH), "estimate");
  must(edgesdk_video_render(video, 3, random.real(), &frame.image, &output.image), "render");
  Picture low(random.between(1, width), random.between(1, height), random.between(1, 2), random.between(0, 3));
  paint(low, 0, 0, random.next());
  must(edgesdk_video_upscale(video, &low.image, &frame.image, nullptr, &output.image), "upscale");
  Picture shrunk(low.image.width, low.image.height, random.between(1, 2), random.between(0, 3));
  must(edgesdk_video_shrink(&frame.image, &shrunk.image), "shrink");
  must(edgesdk_video_upscale(video, &low.image, &frame.image, &shrunk.image, &output.image), "upscale");
  must(edgesdk_video_set_key_from_frame(video, 1), "set_key_from_frame");
  must(edgesdk_video_promote(video), "promote");
  refused(edgesdk_video_render(video, 1, 0.5f, &frame.image, &output.image), "render after promote");
  edgesdk_video_destroy(video);
}

int count_allocations() {
  const int width = 320, height = 180;
  edgesdk_video_config config;
  must(edgesdk_video_config_default(width, height, &config), "config");
  config.threads = 3;
  edgesdk_video* video = nullptr;
  must(edgesdk_video_create(&config, &video), "create");
  Picture key(width, height, EDGESDK_FORMAT_RGB888, 0), frame(width, height, EDGESDK_FORMAT_RGB888, 0);
  Picture output(width, height, EDGESDK_FORMAT_RGBA8888, 0), low(width / 4, height / 4, EDGESDK_FORMAT_RGB888, 0);
  long long before = 0;
  for (int t = 0; t < 6; ++t) {
    if (t == 1) before = allocated + edgesdk_allocation_count();
    paint(key, t, 0, 1);
    paint(frame, t + 2, 1, 1);
    must(edgesdk_video_set_key(video, 0, &key.image), "set_key");
    must(edgesdk_video_set_painted(video, 0, &key.image), "set_painted");
    must(edgesdk_video_set_frame(video, &frame.image), "set_frame");
    must(edgesdk_video_set_key_from_frame(video, 1), "set_key_from_frame");
    must(edgesdk_video_set_painted(video, 1, &frame.image), "set_painted");
    must(edgesdk_video_estimate(video, EDGESDK_USE_BOTH), "estimate");
    edgesdk_measures measures;
    must(edgesdk_video_measure(video, 1, &measures), "measure");
    must(edgesdk_video_render(video, EDGESDK_USE_BOTH, 0.4f, &frame.image, &output.image), "render");
    must(edgesdk_video_upscale(video, &low.image, &frame.image, nullptr, &output.image), "upscale");
    must(edgesdk_video_promote(video), "promote");
  }
  const long long during = allocated + edgesdk_allocation_count() - before;
  edgesdk_video_destroy(video);
  std::printf("counted %lld allocations in all, %lld after warm-up\n", allocated, during);
  return during == 0 && allocated > 0 ? 0 : 1;
}

int write_scenes(int path, uint64_t seed, const char* name) {
  std::FILE* file = std::fopen(name, "wb");
  if (!file) return 2;
  Random random(seed);
  const int sizes[][4] = {{160, 96, 80, 48}, {97, 61, 97, 61}, {200, 120, 60, 36}, {33, 17, 20, 9}};
  for (const auto& size : sizes) {
    edgesdk_video_config config;
    must(edgesdk_video_config_default(size[0], size[1], &config), "config");
    config.flow_width = size[2];
    config.flow_height = size[3];
    config.path = path;
    config.threads = 2;
    config.quality = random.between(0, 2);
    edgesdk_video* video = nullptr;
    must(edgesdk_video_create(&config, &video), "create");
    Picture frames[3] = {Picture(size[0], size[1], 2, 1), Picture(size[0], size[1], 2, 1), Picture(size[0], size[1], 2, 1)};
    Picture painted(size[0], size[1], 2, 0), output(size[0], size[1], 2, 0);
    for (int i = 0; i < 3; ++i) paint(frames[i], 3 * i, -i, 7);
    for (int slot = 0; slot < 2; ++slot) {
      must(edgesdk_video_set_key(video, slot, &frames[2 * slot].image), "set_key");
      paint(painted, slot, slot, 99);
      must(edgesdk_video_set_painted(video, slot, &painted.image), "set_painted");
    }
    must(edgesdk_video_set_frame(video, &frames[1].image), "set_frame");
    must(edgesdk_video_estimate(video, EDGESDK_USE_BOTH), "estimate");
    std::vector<float> flow(static_cast<size_t>(2 * size[2] * size[3]));
    for (int slot = 0; slot < 2; ++slot)
      for (int direction = 0; direction < 2; ++direction) {
        must(edgesdk_video_get_flow(video, slot, direction, flow.data(), 8 * size[2]), "get_flow");
        std::fwrite(flow.data(), sizeof(float), flow.size(), file);
      }
    for (int use = 1; use <= 3; ++use) {
      must(edgesdk_video_render(video, use, 0.3f, &frames[1].image, &output.image), "render");
      std::fwrite(output.bytes.get(), 1, output.size, file);
    }
    const std::vector<float> to = random_flow(random, size[2], size[3]), from = random_flow(random, size[2], size[3]);
    must(edgesdk_video_set_flow(video, 0, to.data(), 8 * size[2], from.data(), 8 * size[2]), "set_flow");
    must(edgesdk_video_render(video, 3, 0.6f, &frames[1].image, &output.image), "render");
    std::fwrite(output.bytes.get(), 1, output.size, file);
    Picture low(size[0] / 3, size[1] / 3, 2, 0);
    paint(low, 0, 0, 5);
    must(edgesdk_video_upscale(video, &low.image, &frames[0].image, nullptr, &output.image), "upscale");
    std::fwrite(output.bytes.get(), 1, output.size, file);
    edgesdk_video_destroy(video);
  }
  return std::fclose(file) == 0 ? 0 : 2;
}

}  // namespace

#if !defined(__SANITIZE_ADDRESS__)
// The library's own calls end here too: symbols of the program come first.
void* operator new(size_t size) {
  ++allocated;
  void* p = std::malloc(size ? size : 1);
  if (!p) throw std::bad_alloc();
  return p;
}
void* operator new(size_t size, std::align_val_t alignment) {
  ++allocated;
  const size_t align = static_cast<size_t>(alignment);
  void* p = std::aligned_alloc(align, (size + align - 1) / align * align);
  if (!p) throw std::bad_alloc();
  return p;
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, size_t, std::align_val_t) noexcept { std::free(p); }
#endif

int main(int count, char** arguments) {
  const std::string mode = count > 1 ? arguments[1] : "";
  if (mode == "random" && count == 4) {
    Random random(std::strtoull(arguments[2], nullptr, 10));
    for (int i = std::atoi(arguments[3]); i > 0; --i) random_round(random);
    return 0;
  }
  if (mode == "allocations") return count_allocations();
  if (mode == "write" && count == 5)
    return write_scenes(std::atoi(arguments[2]), std::strtoull(arguments[3], nullptr, 10), arguments[4]);
  std::fprintf(stderr, "usage: %s random SEED ROUNDS | allocations | write PATH SEED FILE\n", arguments[0]);
  return 2;
}
