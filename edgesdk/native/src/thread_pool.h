// A few workers that share out numbered tasks; the caller works with them.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace edgesdk {

class ThreadPool {
 public:
  // `threads` in all, the caller's included. Throws std::system_error.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  // Call work(task, worker) for every task in 0..count-1, each once, and wait. `worker` in
  // 0..size()-1 tells simultaneous calls apart. `work` must not throw.
  template <typename Work>
  void run(int count, const Work& work) {
    run_erased(count, [](const void* context, int task, int worker) {
      (*static_cast<const Work*>(context))(task, worker);
    }, &work);
  }

 private:
  using Call = void (*)(const void* context, int task, int worker);
  void run_erased(int count, Call call, const void* context);
  void take_tasks(int worker);
  void stop();

  std::mutex mutex_;
  std::condition_variable begun_, ended_;
  uint64_t round_ = 0;
  int busy_ = 0; // workers in the present round
  bool open_ = false; // whether the present round may have tasks left
  bool stopping_ = false;
  Call call_ = nullptr;
  const void* context_ = nullptr;
  int count_ = 0;
  std::atomic<int> next_{0};
  std::vector<std::thread> workers_;
};

}  // namespace edgesdk
