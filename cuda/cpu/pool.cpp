#include "pool.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace splat {
namespace {

// Moments of long-unseen Gaussians decay into denormals, which are a hundred times slower to add.
// They are flushed to zero inside parallel loops only: the process keeps its own setting.
class FlushDenormals {
 public:
#if defined(__x86_64__) || defined(_M_X64)
  FlushDenormals() : old_(_mm_getcsr()) { _mm_setcsr(old_ | 0x8040); }
  ~FlushDenormals() { _mm_setcsr(old_); }

 private:
  unsigned old_;
#elif defined(__aarch64__) && !defined(_MSC_VER)
  FlushDenormals() {
    asm volatile("mrs %0, fpcr" : "=r"(old_));
    asm volatile("msr fpcr, %0" : : "r"(old_ | 1ul << 24));
  }
  ~FlushDenormals() { asm volatile("msr fpcr, %0" : : "r"(old_)); }

 private:
  unsigned long old_;
#endif
};

void pause() {
#if defined(__x86_64__) || defined(_M_X64)
  _mm_pause();
#elif defined(__aarch64__) && !defined(_MSC_VER)
  asm volatile("yield");
#endif
}

constexpr int kSpins = 4000;  // about 100 us: a step's stages follow each other more closely

class Pool {
 public:
  explicit Pool(int count) {
    for (int i = 1; i < count; ++i) workers_.emplace_back([this] { work(); });
  }

  ~Pool() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stop_ = true;
      generation_.fetch_add(1);
    }
    wake_.notify_all();
    for (auto& worker : workers_) worker.join();
  }

  int size() const { return 1 + (int)workers_.size(); }

  void run(std::ptrdiff_t items, void* context, Body body) {
    body_ = body;
    context_ = context;
    items_ = items;
    next_.store(0, std::memory_order_relaxed);
    busy_.store((int)workers_.size(), std::memory_order_relaxed);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    take();
    for (int spins = 0; busy_.load(std::memory_order_acquire) != 0; ++spins) {
      if (spins < kSpins)
        pause();
      else
        std::this_thread::yield();
    }
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
  }

 private:
  // Memory may run out in any thread. The caller learns of it, and not before the others are done:
  // what they work on is the caller's.
  void take() {
    [[maybe_unused]] FlushDenormals guard;
    try {
      for (;;) {
        const std::ptrdiff_t i = next_.fetch_add(1, std::memory_order_relaxed);
        if (i >= items_) return;
        body_(context_, i);
      }
    } catch (...) {
      std::lock_guard<std::mutex> lock(mutex_);
      failure_ = std::current_exception();
    }
  }

  void work() {
    unsigned seen = 0;
    for (;;) {
      for (int spins = 0; spins < kSpins; ++spins) {
        if (generation_.load(std::memory_order_acquire) != seen) break;
        pause();
      }
      if (generation_.load(std::memory_order_acquire) == seen) {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return generation_.load(std::memory_order_acquire) != seen; });
      }
      seen = generation_.load(std::memory_order_acquire);
      if (stop_) return;
      take();
      busy_.fetch_sub(1, std::memory_order_release);
    }
  }

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<unsigned> generation_{0};
  std::atomic<std::ptrdiff_t> next_{0};
  std::atomic<int> busy_{0};
  bool stop_ = false;
  std::exception_ptr failure_;
  Body body_ = nullptr;
  void* context_ = nullptr;
  std::ptrdiff_t items_ = 0;
};

std::mutex owner;                 // one parallel loop at a time; a second caller runs alone
std::unique_ptr<Pool> pool;       // made at the first loop
std::atomic<int> wanted{0};

int default_threads() { return std::max(1, (int)std::thread::hardware_concurrency()); }

}  // namespace

int threads() {
  const int count = wanted.load();
  return count > 0 ? count : default_threads();
}

void set_threads(int count) { wanted.store(std::max(1, count)); }

void forget_threads() {
  pool.release();  // leaked on purpose: its threads are the parent's
  new (&owner) std::mutex;
}

void parallel(std::ptrdiff_t items, void* context, Body body) {
  if (items <= 0) return;
  std::unique_lock<std::mutex> lock(owner, std::try_to_lock);
  if (lock.owns_lock() && items > 1 && threads() > 1) {
    if (!pool || pool->size() != threads()) pool = std::make_unique<Pool>(threads());
    pool->run(items, context, body);
    return;
  }
  [[maybe_unused]] FlushDenormals guard;
  for (std::ptrdiff_t i = 0; i < items; ++i) body(context, i);
}

}  // namespace splat
