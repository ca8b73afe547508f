// Scratch memory that grows and is never initialised, and the few algorithms the kernels need.
//
// Compiled once per instruction set like everything it serves. The standard library's templates
// stay out of these files: the linker keeps one copy of each for everybody, and that copy may be
// the one that only some machines can run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

#include "simd.h"

namespace splat::SPLAT_ISA {

template <class T>
SPLAT_INLINE T least(T a, T b) {
  return b < a ? b : a;
}
template <class T>
SPLAT_INLINE T most(T a, T b) {
  return a < b ? b : a;
}
SPLAT_INLINE int rounded_up(int count, int to) { return (count + to - 1) / to * to; }
template <class T>
SPLAT_INLINE void fill(T* first, T* last, T value) {
  for (; first != last; ++first) *first = value;
}

// A T within room for it, as Windows and macOS give the variables of a thread 16 bytes of alignment
// whatever these ask for.
template <class T>
struct Aligned {
  unsigned char room[sizeof(T) + alignof(T)];
  T* made;

  Aligned() {
    const std::uintptr_t mask = alignof(T) - 1;
    made = new (reinterpret_cast<void*>((reinterpret_cast<std::uintptr_t>(room) + mask) & ~mask)) T();
  }
  Aligned(const Aligned&) = delete;
  Aligned& operator=(const Aligned&) = delete;
  ~Aligned() { made->~T(); }
};

// This thread's own T. Ask once and keep the reference: looking it up is a call.
template <class T>
#if defined(_MSC_VER)
__declspec(noinline)
#else
__attribute__((noinline))
#endif
static T& own() {
  thread_local Aligned<T> mine;
  return *mine.made;
}

template <class T>
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { std::free(raw_); }

  // Room for `count` items; what was there before is lost. Aligned to a cache line.
  T* resize(std::size_t count) {
    if (count > capacity_ || !raw_) {
      const std::size_t room = count + count / 8 + 16;
      std::free(raw_);  // first let go, so that the peak is one buffer
      capacity_ = 0;
      raw_ = std::malloc(room * sizeof(T) + 64);
      if (!raw_) throw std::bad_alloc();
      capacity_ = room;
      data_ = reinterpret_cast<T*>((reinterpret_cast<std::uintptr_t>(raw_) + 63) & ~std::uintptr_t(63));
    }
    return data_;
  }
  T* resize(std::size_t count, T value) {
    resize(count);
    fill(data_, data_ + count, value);
    return data_;
  }
  void swap(Buffer& other) {
    void* raw = raw_;
    T* data = data_;
    const std::size_t capacity = capacity_;
    raw_ = other.raw_, data_ = other.data_, capacity_ = other.capacity_;
    other.raw_ = raw, other.data_ = data, other.capacity_ = capacity;
  }
  T* data() const { return data_; }
  T& operator[](std::size_t i) const { return data_[i]; }
  int64_t bytes() const { return int64_t(capacity_ * sizeof(T)); }

 private:
  void* raw_ = nullptr;
  T* data_ = nullptr;
  std::size_t capacity_ = 0;
};

}  // namespace splat::SPLAT_ISA
