// A small thread pool of our own: one parallel loop at a time, items handed out one by one.
//
// Results never depend on the number of threads: an item writes only what belongs to it.
#pragma once

#include <cstddef>

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

}  // namespace splat
