#include "buffer.h"

#include <atomic>
#include <cstdlib>
#include <limits>
#include <new>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace edgesdk {
namespace {
constexpr size_t kAlignment = 64;
std::atomic<int64_t> allocated{0};

#if defined(__linux__) && defined(MADV_HUGEPAGE)
// Large pages cost one interruption where small ones cost hundreds. Only a wish: a system that has
// none leaves everything as it is.
void wish_for_large_pages(void* data, size_t bytes) {
  constexpr uintptr_t kLarge = uintptr_t{1} << 21;
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(data) + kLarge - 1) & ~(kLarge - 1);
  const uintptr_t end = (reinterpret_cast<uintptr_t>(data) + bytes) & ~(kLarge - 1);
  if (begin < end) (void)madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
}
#else
void wish_for_large_pages(void*, size_t) {}
#endif
}  // namespace

Buffer::~Buffer() { release(); }

Buffer::Buffer(Buffer&& other) noexcept
    : block_(std::exchange(other.block_, nullptr)), data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(block_, other.block_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

void* Buffer::reserve_bytes(size_t count, size_t size) {
  if (count > (std::numeric_limits<size_t>::max() - kAlignment) / size) throw std::bad_alloc();
  const size_t bytes = count * size;
  if (data_ && bytes <= bytes_) return data_;
  release();
  // Zeroed by the system when it is touched, if ever: a handle that is given its flows never touches
  // what finds them.
  block_ = std::calloc(1, bytes + kAlignment);
  if (!block_) throw std::bad_alloc();
  const uintptr_t begin = reinterpret_cast<uintptr_t>(block_);
  data_ = static_cast<char*>(block_) + ((kAlignment - begin % kAlignment) % kAlignment);
  bytes_ = bytes;
  wish_for_large_pages(data_, bytes);
  allocated.fetch_add(1, std::memory_order_relaxed);
  return data_;
}

void Buffer::release() {
  std::free(block_);
  block_ = data_ = nullptr;
  bytes_ = 0;
}

int64_t Buffer::allocations() { return allocated.load(std::memory_order_relaxed); }

}  // namespace edgesdk
