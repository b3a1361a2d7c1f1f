#include "thread_pool.h"

namespace edgesdk {

ThreadPool::ThreadPool(int threads) {
  try {
    for (int worker = 1; worker < threads; ++worker)
      workers_.emplace_back([this, worker] {
        uint64_t seen = 0;
        std::unique_lock<std::mutex> lock(mutex_);
        for (;;) {
          begun_.wait(lock, [&] { return stopping_ || (open_ && round_ != seen); });
          if (stopping_) return;
          seen = round_;
          ++busy_;
          lock.unlock();
          take_tasks(worker);
          lock.lock();
          if (--busy_ == 0) ended_.notify_one();
        }
      });
  } catch (...) {
    stop();
    throw;
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  begun_.notify_all();
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
}

void ThreadPool::take_tasks(int worker) {
  for (int task; (task = next_.fetch_add(1, std::memory_order_relaxed)) < count_;)
    call_(context_, task, worker);
}

void ThreadPool::run_erased(int count, Call call, const void* context) {
  if (workers_.empty() || count <= 1) {
    for (int task = 0; task < count; ++task) call(context, task, 0);
    return;
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    call_ = call;
    context_ = context;
    count_ = count;
    next_.store(0, std::memory_order_relaxed);
    open_ = true;
    ++round_;
  }
  begun_.notify_all();
  take_tasks(0);
  // Only for workers that have come: on a busy machine the others may come when all is done.
  std::unique_lock<std::mutex> lock(mutex_);
  open_ = false;
  ended_.wait(lock, [&] { return busy_ == 0; });
}

}  // namespace edgesdk
