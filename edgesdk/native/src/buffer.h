// Memory aligned for vectors, zeroed, counted: the engine allocates through this class alone.
#pragma once

#include <cstddef>
#include <cstdint>

namespace edgesdk {

class Buffer {
 public:
  Buffer() = default;
  ~Buffer();
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;

  // Make room for `count` zeroed values; keeps what is there when it is large enough. Throws
  // std::bad_alloc.
  template <typename T>
  T* reserve(size_t count) {
    return static_cast<T*>(reserve_bytes(count, sizeof(T)));
  }

  // Buffers allocated since the library was loaded.
  static int64_t allocations();

 private:
  void* reserve_bytes(size_t count, size_t size);
  void release();

  void* block_ = nullptr; // as allocated; data_ is the first aligned place of it
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace edgesdk
