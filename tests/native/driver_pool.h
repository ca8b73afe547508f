// The thread pool, for the test driver: every item once, by the thread that it belongs to where that
// thread is free, whatever is thrown and whatever else goes on.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include "pool.h"

namespace splat {
namespace pool_checks {

inline std::atomic<int> failures{0};

inline void expect(bool fine, const char* what) {
  if (fine) return;
  ++failures;
  std::printf("FAILED: %s\n", what);
}

// Whether it comes to hold before long: what waits for another thread must not wait for ever.
template <class Holds>
bool soon(Holds&& holds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!holds()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

inline std::vector<int> counted(int items) {
  std::vector<int> seen(items);
  parallel_for(items, [&](std::ptrdiff_t i) { ++seen[i]; });
  return seen;
}

inline void every_item_once() {
  for (const int count : {1, 2, 3, 7}) {
    set_threads(count);
    for (const int items : {0, 1, 2, 3, 6, 7, 8, 1000})
      expect(counted(items) == std::vector<int>(items, 1), "a loop skips items");
  }
}

// As many items as threads, none of which ends before all have begun: then each has its own.
inline void own_items() {
  constexpr int kCount = 3;
  set_threads(kCount);
  std::vector<std::thread::id> before;
  for (int round = 0; round < 20; ++round) {
    std::vector<std::thread::id> now(kCount);
    std::atomic<int> begun{0};
    parallel_for(kCount, [&](std::ptrdiff_t i) {
      now[i] = std::this_thread::get_id();
      ++begun;
      expect(soon([&] { return begun == kCount; }), "a thread does not come to a loop");
    });
    expect(now[0] == std::this_thread::get_id(), "the first items are not the caller's");
    expect(!round || now == before, "a thread's own items are another's in the next loop");
    before = now;
  }
}

// The first item does not end before all others have: who is done does what is left of its thread's.
inline void others_help() {
  set_threads(3);
  std::atomic<int> done{0};
  parallel_for(30, [&](std::ptrdiff_t i) {
    if (i == 0) expect(soon([&] { return done == 29; }), "nobody does what another thread does not come to");
    ++done;
  });
}

// What an item throws reaches the caller, after all items of the other threads, and harms no later loop.
inline void exceptions() {
  set_threads(3);
  for (const int bad : {0, 7, 499}) {
    bool caught = false;
    try {
      parallel_for(500, [&](std::ptrdiff_t i) {
        if (i == bad) throw std::runtime_error("one item");
      });
    } catch (const std::runtime_error&) {
      caught = true;
    }
    expect(caught, "an exception of an item was lost");
    expect(counted(1000) == std::vector<int>(1000, 1), "a loop after an exception skips items");
  }
}

// Counts in `seen`, and throws at item `bad`.
class Counting : public Aside {
 public:
  Counting(std::vector<int>& seen, int bad) : seen_(seen), bad_(bad) {}
  void item(std::ptrdiff_t i) override {
    if (i == bad_) throw std::runtime_error("one item");
    ++seen_[i];
  }

 private:
  std::vector<int>& seen_;
  int bad_;
};

// Loops aside: all items are done, once, by the time of `finish`, whoever calls it, whatever else runs
// and however many threads there are meanwhile. What one throws reaches who finishes it.
inline void aside() {
  for (const int count : {3, 1, 2}) {
    set_threads(count);
    std::vector<std::vector<int>> seen(50, std::vector<int>(300));
    std::uint64_t number = 0;
    for (auto& each : seen) {
      number = begin(300, std::make_unique<Counting>(each, -1));
      expect(counted(20) == std::vector<int>(20, 1), "a loop beside one aside skips items");
      if (&each == &seen[25]) set_threads(count % 3 + 1), counted(20);
    }
    std::thread other([number] { finish(number); });
    other.join();
    for (const auto& each : seen) expect(each == std::vector<int>(300, 1), "a loop aside skips items");
    std::vector<int> few(300);
    bool caught = false;
    try {
      finish(begin(300, std::make_unique<Counting>(few, 7)));
    } catch (const std::runtime_error&) {
      caught = true;
    }
    expect(caught, "an exception of an item aside was lost");
    finish_all();
  }
}

// Callers from several threads, each of which waits for its own.
inline void callers_aside() {
  set_threads(3);
  std::vector<std::thread> callers;
  for (int k = 0; k < 3; ++k)
    callers.emplace_back([] {
      for (int i = 0; i < 30; ++i) {
        std::vector<int> seen(100);
        finish(begin(100, std::make_unique<Counting>(seen, -1)));
        expect(seen == std::vector<int>(100, 1), "a loop aside of another caller skips items");
      }
    });
  for (auto& caller : callers) caller.join();
}

}  // namespace pool_checks

// Failures of the pool.
inline int check_pool() {
  const int before = threads();
  pool_checks::every_item_once();
  pool_checks::own_items();
  pool_checks::others_help();
  pool_checks::exceptions();
  pool_checks::aside();
  pool_checks::callers_aside();
  set_threads(before);
  return pool_checks::failures;
}

}  // namespace splat
