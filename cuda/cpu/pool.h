// A small thread pool of our own: one parallel loop at a time, items handed out one by one, to each
// thread first those that are its own in every loop over as many.
//
// Results never depend on the number of threads: an item writes only what belongs to it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace splat {

int threads();
void set_threads(int count);  // at least 1; counts the calling thread
void forget_threads();        // in a forked child: the parent's threads do not exist there

using Body = void (*)(void* context, std::ptrdiff_t item);
void parallel(std::ptrdiff_t items, void* context, Body body);

// Call fn(i) for i in [0, items), on all threads; returns when all are done, and throws what one threw.
template <class Fn>
void parallel_for(std::ptrdiff_t items, Fn&& fn) {
  parallel(items, &fn, [](void* context, std::ptrdiff_t i) { (*static_cast<Fn*>(context))(i); });
}

// A loop that goes on aside: begun, and finished when somebody needs what it makes. Meanwhile
// threads that have no other loop to run take its items.
class Aside {
 public:
  virtual ~Aside() = default;
  virtual void item(std::ptrdiff_t i) = 0;
};

// One goes on at a time: another that is there already is finished first. What to finish it by; 0
// where it is done already, because there is no thread to spare.
std::uint64_t begin(std::ptrdiff_t items, std::unique_ptr<Aside> work);
// Helps until it is done; throws what an item threw. Of one that is done it does nothing. By any
// thread; what was written is then there for it.
void finish(std::uint64_t number);
void finish_all();

}  // namespace splat
