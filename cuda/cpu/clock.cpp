#include "clock.h"

#include <atomic>
#include <chrono>

namespace splat {
namespace {

std::atomic<int64_t> spent[kStages];

}  // namespace

int64_t stage_nanoseconds(Stage stage) { return spent[stage].load(std::memory_order_relaxed); }

void add_nanoseconds(Stage stage, int64_t time) {
  spent[stage].fetch_add(time, std::memory_order_relaxed);
}

int64_t nanoseconds_now() {
  using namespace std::chrono;
  return duration_cast<nanoseconds>(steady_clock::now().time_since_epoch()).count();
}

}  // namespace splat
