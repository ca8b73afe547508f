#include "clock.h"

#include <algorithm>
#include <atomic>
#include <chrono>

namespace splat {
namespace {

std::atomic<int64_t> spent[kStages];
std::atomic<int64_t> aside_from{0};   // not booked since; 0: no loop aside
std::atomic<int64_t> aside_until{0};  // when it ended; 0: it goes on

}  // namespace

int64_t stage_nanoseconds(Stage stage) { return spent[stage].load(std::memory_order_relaxed); }

void add_nanoseconds(Stage stage, int64_t time) {
  spent[stage].fetch_add(time, std::memory_order_relaxed);
}

void aside_begins(int64_t now) {
  aside_until.store(0, std::memory_order_relaxed);
  aside_from.store(now, std::memory_order_relaxed);
}

void aside_ends(int64_t now) { aside_until.store(now, std::memory_order_relaxed); }

void book_aside(int64_t now) {
  const int64_t from = aside_from.load(std::memory_order_relaxed);
  if (!from) return;
  const int64_t until = aside_until.load(std::memory_order_relaxed);
  const int64_t to = until ? std::min(until, now) : now;
  if (to > from) add_nanoseconds(kAside, to - from);
  aside_from.store(until ? 0 : now, std::memory_order_relaxed);
}

void skip_aside(int64_t now) {
  if (aside_from.load(std::memory_order_relaxed)) aside_from.store(now, std::memory_order_relaxed);
}

int64_t nanoseconds_now() {
  using namespace std::chrono;
  return duration_cast<nanoseconds>(steady_clock::now().time_since_epoch()).count();
}

}  // namespace splat
