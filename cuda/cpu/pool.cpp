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

#include "clock.h"

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

// The loop that goes on aside. It outlives the pool, whose threads only take items of it.
class Going {
 public:
  // Whether there are items that nobody has taken.
  bool waits() const { return uint32_t(open_.load(std::memory_order_acquire)) != 0; }

  // Only where the one before is finished, and by one thread at a time.
  std::uint64_t begin(std::uint32_t items, std::unique_ptr<Aside> work) {
    work_ = std::move(work);
    left_.store(items, std::memory_order_relaxed);
    const std::uint64_t number = number_.load(std::memory_order_relaxed) + 1;
    number_.store(number, std::memory_order_release);
    aside_begins(nanoseconds_now());
    open_.store(number << 32 | items, std::memory_order_release);
    return number;
  }

  // Takes an item and does it; false where there is none to take.
  bool take() {
    std::uint64_t open = open_.load(std::memory_order_acquire);
    do {
      if (!uint32_t(open)) return false;
    } while (!open_.compare_exchange_weak(open, open - 1, std::memory_order_acq_rel));
    try {
      [[maybe_unused]] FlushDenormals guard;
      work_->item(uint32_t(open) - 1);
    } catch (...) {
      std::lock_guard<std::mutex> lock(mutex_);
      failure_ = std::current_exception();
    }
    if (left_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      aside_ends(nanoseconds_now());
      ended_.store(number_.load(std::memory_order_relaxed), std::memory_order_release);
    }
    return true;
  }

  void finish(std::uint64_t number) {
    for (int spins = 0; ended_.load(std::memory_order_acquire) < number;) {
      if (take()) continue;
      if (spins++ < kSpins)
        pause();
      else
        std::this_thread::yield();
    }
    std::lock_guard<std::mutex> lock(mutex_);
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
  }

  std::uint64_t last() const { return number_.load(std::memory_order_acquire); }

  // In a forked child, where all is done and another thread may have held the lock. What began and
  // ended is known by its number on either side.
  void forget() { new (&mutex_) std::mutex; }

 private:
  std::unique_ptr<Aside> work_;
  std::atomic<std::uint64_t> open_{0};  // items that nobody has taken; above 32 bits, of which loop
  std::atomic<std::uint32_t> left_{0};  // items that are not done
  std::atomic<std::uint64_t> number_{0}, ended_{0};  // the last loop that began, and that ended
  std::mutex mutex_;
  std::exception_ptr failure_;
};

Going going;

class Pool {
 public:
  explicit Pool(int count) : shares_(count) {
    for (int i = 1; i < count; ++i) workers_.emplace_back([this, i] { work(i); });
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

  int size() const { return (int)shares_.size(); }

  // Wakes who sleeps, to what goes on aside.
  void call() {
    { std::lock_guard<std::mutex> lock(mutex_); }  // no thread is between its look and its sleep
    wake_.notify_all();
  }

  void run(std::ptrdiff_t items, void* context, Body body) {
    body_ = body;
    context_ = context;
    for (int i = 0; i < size(); ++i) {
      shares_[i].next.store(items * i / size(), std::memory_order_relaxed);
      shares_[i].end = items * (i + 1) / size();
    }
    open_.store(true);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    take(0);
    // Who has not come by now (asleep, or at an item aside) is not waited for.
    open_.store(false);
    for (int spins = 0; inside_.load() != 0; ++spins) {
      if (spins < kSpins)
        pause();
      else
        std::this_thread::yield();
    }
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
  }

 private:
  // A thread begins with the items that are its own in every loop over as many: what it wrote in the
  // last one is nearer to it than what another did. Then it helps the others. Memory may run out in
  // any of them. The caller learns of it, and not before the others are done: what they work on is
  // the caller's.
  void take(int thread) {
    [[maybe_unused]] FlushDenormals guard;
    try {
      for (int k = 0; k < size(); ++k) {
        Share& share = shares_[(thread + k) % size()];
        for (;;) {
          const std::ptrdiff_t i = share.next.fetch_add(1, std::memory_order_relaxed);
          if (i >= share.end) break;
          body_(context_, i);
        }
      }
    } catch (...) {
      std::lock_guard<std::mutex> lock(mutex_);
      failure_ = std::current_exception();
    }
  }

  void work(int thread) {
    unsigned seen = 0;
    for (;;) {
      for (int spins = 0; spins < kSpins; ++spins) {
        if (called(seen)) break;
        pause();
      }
      if (!called(seen)) {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return called(seen); });
      }
      const unsigned now = generation_.load(std::memory_order_acquire);
      if (now == seen) {
        going.take();
        continue;
      }
      seen = now;
      if (stop_) return;
      inside_.fetch_add(1);  // before the look, as the caller closes before it looks for us
      if (open_.load()) take(thread);
      inside_.fetch_sub(1);
    }
  }

  bool called(unsigned seen) const {
    return generation_.load(std::memory_order_acquire) != seen || going.waits();
  }

  // A thread's own items of a loop.
  struct alignas(64) Share {
    std::atomic<std::ptrdiff_t> next{0};
    std::ptrdiff_t end = 0;
  };

  std::vector<Share> shares_;
  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<unsigned> generation_{0};
  std::atomic<bool> open_{false};  // whether threads may still come to the loop
  std::atomic<int> inside_{0};     // threads that have
  bool stop_ = false;
  std::exception_ptr failure_;
  Body body_ = nullptr;
  void* context_ = nullptr;
};

std::mutex owner;                 // one parallel loop at a time; a second caller runs alone
std::unique_ptr<Pool> pool;       // made at the first loop
std::atomic<int> wanted{0};

// Only for who owns it.
Pool& of_wanted_size() {
  if (!pool || pool->size() != threads()) pool = std::make_unique<Pool>(threads());
  return *pool;
}

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
  going.forget();
}

void parallel(std::ptrdiff_t items, void* context, Body body) {
  if (items <= 0) return;
  std::unique_lock<std::mutex> lock(owner, std::try_to_lock);
  if (lock.owns_lock() && items > 1 && threads() > 1) {
    of_wanted_size().run(items, context, body);
    return;
  }
  [[maybe_unused]] FlushDenormals guard;
  for (std::ptrdiff_t i = 0; i < items; ++i) body(context, i);
}

std::uint64_t begin(std::ptrdiff_t items, std::unique_ptr<Aside> work) {
  if (items <= 0) return 0;
  std::unique_lock<std::mutex> lock(owner, std::try_to_lock);
  if (lock.owns_lock() && threads() > 1) {
    finish_all();
    Pool& idle = of_wanted_size();
    const std::uint64_t number = going.begin(std::uint32_t(items), std::move(work));
    idle.call();
    return number;
  }
  [[maybe_unused]] FlushDenormals guard;
  for (std::ptrdiff_t i = 0; i < items; ++i) work->item(i);
  return 0;
}

void finish(std::uint64_t number) { going.finish(number); }

void finish_all() { going.finish(going.last()); }

}  // namespace splat
