// Sources as MSVC sees them, for a compiler that is there (`.ci/msvc`): the standard library by GCC's
// rules, then the project's own by those of MSVC, with what it does not know refused.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <initializer_list>
#include <limits>
#include <memory>
#include <mutex>
#include <new>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#define _M_X64 100
#elif defined(__aarch64__)
#define _M_ARM64 1
#endif

#include "intrin.h"

#undef __GNUC__
#undef __clang__
#undef __x86_64__
#undef __aarch64__
#define _MSC_VER 1940
#define _WIN32 1
#if !defined(_MSC_EXTENSIONS)  // where they are no keywords
#define __forceinline inline
#define __declspec(what)
#endif

// What GCC and Clang take silently, even when they are strict; and what MSVC's headers lack.
#undef alloca
#undef M_PI
#pragma GCC poison __attribute__ __asm__ asm __typeof__ typeof __int128 __extension__ alloca ssize_t M_PI uint
#pragma GCC poison __builtin_ctzll __builtin_clzll __builtin_popcountll __builtin_ctz __builtin_clz
#pragma GCC poison __builtin_popcount __builtin_prefetch __builtin_expect __builtin_unreachable __builtin_memcpy
