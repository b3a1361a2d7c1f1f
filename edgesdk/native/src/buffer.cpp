#include "buffer.h"

#include <atomic>
#include <cstring>
#include <limits>
#include <new>
#include <utility>

namespace edgesdk {
namespace {
constexpr std::align_val_t kAlignment{64};
std::atomic<int64_t> allocated{0};
}  // namespace

Buffer::~Buffer() { release(); }

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

void* Buffer::reserve_bytes(size_t count, size_t size) {
  if (count > std::numeric_limits<size_t>::max() / size) throw std::bad_alloc();
  const size_t bytes = count * size;
  if (data_ && bytes <= bytes_) return data_;
  release();
  data_ = ::operator new(bytes ? bytes : 1, kAlignment);
  bytes_ = bytes;
  std::memset(data_, 0, bytes);
  allocated.fetch_add(1, std::memory_order_relaxed);
  return data_;
}

void Buffer::release() {
  if (data_) ::operator delete(data_, kAlignment);
  data_ = nullptr;
  bytes_ = 0;
}

int64_t Buffer::allocations() { return allocated.load(std::memory_order_relaxed); }

}  // namespace edgesdk
