// The fibers of cuda_runtime.h, and the orders in which they take turns.
#include "cuda_runtime.h"

#include <sys/mman.h>
#include <unistd.h>

#include <random>
#include <vector>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

// Where the linker has put everything that is __shared__.
extern "C" char __start_shim_shared[] __attribute__((weak));
extern "C" char __stop_shim_shared[] __attribute__((weak));

namespace shim {
namespace {

constexpr std::size_t kStack = 256 << 10;

// A context that can be left and entered again. The system's own way asks the kernel each time, which
// is a hundred times slower; what a call must keep is six registers and the stack. It ends in a jump,
// for the processor would guess a return wrong each time.
#if defined(__x86_64__)
asm(R"(
.text
.type shim_switch,@function
shim_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  popq %rcx
  jmp *%rcx
.size shim_switch,.-shim_switch
)");
extern "C" void shim_switch(void** save, void* to);
struct Context {
  void* stack_pointer;
};
void change(Context& from, Context& to) { shim_switch(&from.stack_pointer, to.stack_pointer); }
void prepare(Context& context, char* stack, void (*enter)()) {
  void** top = reinterpret_cast<void**>(reinterpret_cast<uintptr_t>(stack + kStack) & ~uintptr_t(15));
  *--top = nullptr;  // as if something had called `enter`
  *--top = reinterpret_cast<void*>(enter);
  for (int k = 0; k < 6; ++k) *--top = nullptr;
  context.stack_pointer = top;
}
#else
struct Context {
  ucontext_t at;
};
void change(Context& from, Context& to) { swapcontext(&from.at, &to.at); }
void prepare(Context& context, char* stack, void (*enter)()) {
  getcontext(&context.at);
  context.at.uc_stack.ss_sp = stack, context.at.uc_stack.ss_size = kStack, context.at.uc_link = nullptr;
  makecontext(&context.at, enter, 0);
}
#endif

enum State { kReady, kAtBarrier, kInWarp, kDone };

struct Fiber {
  Context context;
  State state;
  unsigned mask;  // of the exchange that it waits for
  uint3 index;    // threadIdx
};

struct Warp {
  uint64_t given[32];
  Seen seen[2];
  unsigned generation = 0;
  int ready = 0;  // lanes that can go on
};

std::vector<Fiber> fibers;
std::vector<Warp> warps;
std::vector<char*> stacks;
Context home;
unsigned now, threads;
void (*body_of)(void*);
void* closure_of;
int counts[2];
unsigned phase;
int kind = 0;
std::mt19937 shuffle;

void enter() {
  body_of(closure_of);
  fibers[now].state = kDone;
  change(fibers[now].context, home);
  std::abort();
}

void wait(State why) {
  Fiber& me = fibers[now];
  me.state = why;
  change(me.context, home);
}

char* stack_of(unsigned i) {
  while (stacks.size() <= i) {
    void* memory = mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, std::size_t(getpagesize()), PROT_NONE)) std::abort();
    // One that grows too large ends at the page. Were all at like addresses, a cache would hold few.
    stacks.push_back(static_cast<char*>(memory) - stacks.size() % 64 * 448);
  }
  return stacks[i];
}

unsigned lanes_of(unsigned warp) { return std::min(32u, threads - 32 * warp); }

// Lets the lanes of a warp that can go on do so, each until it waits or ends.
void advance(unsigned w) {
  unsigned lanes[32];
  const unsigned count = lanes_of(w);
  for (unsigned i = 0; i < count; ++i) lanes[i] = kind == 1 ? count - 1 - i : i;
  if (kind > 1) std::shuffle(lanes, lanes + count, shuffle);
  for (unsigned k = 0; k < count; ++k) {
    const unsigned i = 32 * w + lanes[k];
    if (fibers[i].state != kReady) continue;
    now = i;
    threadIdx = fibers[i].index;
    change(home, fibers[i].context);
  }
  warps[w].ready = 0;
}

// Whether lanes that wait for each other within a warp have all come; they go on then.
bool met(unsigned w) {
  Warp& warp = warps[w];
  const unsigned count = lanes_of(w);
  bool any = false;
  for (unsigned first = 0; first < count; ++first) {
    const Fiber& one = fibers[32 * w + first];
    if (one.state != kInWarp) continue;
    const unsigned mask = one.mask;
    bool all = true;
    for (unsigned k = 0; k < count && all; ++k) {
      const Fiber& other = fibers[32 * w + k];
      if (mask >> k & 1) all = other.state == kDone || (other.state == kInWarp && other.mask == mask);
    }
    if (!all) continue;
    const unsigned generation = warp.generation++ & 1;
    Seen& seen = warp.seen[generation];
    std::memcpy(seen.words, warp.given, sizeof warp.given);
    seen.votes = 0;
    for (unsigned k = 0; k < count; ++k) {
      Fiber& other = fibers[32 * w + k];
      if (!(mask >> k & 1) || other.state != kInWarp) continue;
      other.state = kReady, other.mask = generation, ++warp.ready;
      seen.votes |= unsigned(seen.words[k] != 0) << k;
    }
    if (warp.ready == int(count)) return true;
    any = true;
  }
  return any;
}

// The warp whose turn it is, or -1 where none can go on.
int next_warp() {
  const int count = int(warps.size()), from = kind > 1 ? int(shuffle() % unsigned(count)) : 0;
  for (int k = 0; k < count; ++k) {
    const int w = kind == 1 ? count - 1 - k : (from + k) % count;
    if (warps[w].ready) return w;
  }
  return -1;
}

void run_block() {
  if (__start_shim_shared) std::memset(__start_shim_shared, 0xFF, std::size_t(__stop_shim_shared - __start_shim_shared));
  for (unsigned i = 0; i < threads; ++i) {
    prepare(fibers[i].context, stack_of(i), enter);
    fibers[i].state = kReady;
    fibers[i].index = {i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y)};
  }
  for (unsigned w = 0; w < warps.size(); ++w) warps[w] = Warp{}, warps[w].ready = int(lanes_of(w));
  phase = 0, counts[0] = counts[1] = 0;
  for (;;) {
    for (int w = next_warp(); w >= 0; w = next_warp()) advance(unsigned(w)), met(unsigned(w));
    unsigned done = 0, waiting = 0;
    for (const Fiber& f : fibers) done += f.state == kDone, waiting += f.state == kAtBarrier;
    if (done == threads) return;
    if (done + waiting != threads) {
      std::fprintf(stderr, "shim: threads of a block wait for each other in different places\n");
      std::abort();
    }
    for (Fiber& f : fibers)
      if (f.state == kAtBarrier) f.state = kReady;
    for (unsigned w = 0; w < warps.size(); ++w)
      for (unsigned k = 0; k < lanes_of(w); ++k) warps[w].ready += fibers[32 * w + k].state == kReady;
    counts[++phase & 1] = 0;
  }
}

}  // namespace

void barrier() { wait(kAtBarrier); }

int barrier_count(bool value) {
  const unsigned mine = phase & 1;
  counts[mine] += value;
  wait(kAtBarrier);
  return counts[mine];
}

const Seen& exchange(unsigned mask, uint64_t word) {
  const unsigned me = now;
  Warp& warp = warps[me / 32];
  warp.given[me % 32] = word;
  fibers[me].mask = mask;
  wait(kInWarp);
  return warp.seen[fibers[me].mask];
}

unsigned lane() { return now % 32; }

void run(dim3 grid, dim3 block, void (*body)(void*), void* closure) {
  body_of = body, closure_of = closure, blockDim = block, gridDim = grid;
  threads = block.x * block.y * block.z;
  fibers.resize(threads);
  warps.resize((threads + 31) / 32);
  if (!threads || threads > 1024 || !grid.x || !grid.y || grid.y > 65535 || !grid.z) {
    std::fprintf(stderr, "shim: %u x %u x %u blocks of %u threads cannot be launched\n", grid.x, grid.y, grid.z, threads);
    std::abort();
  }
  const uint64_t blocks = uint64_t(grid.x) * grid.y * grid.z;
  for (uint64_t k = 0; k < blocks; ++k) {
    const uint64_t b = kind == 1 ? blocks - 1 - k : k;
    blockIdx = {unsigned(b % grid.x), unsigned(b / grid.x % grid.y), unsigned(b / (uint64_t(grid.x) * grid.y))};
    run_block();
  }
}

}  // namespace shim

extern "C" __attribute__((visibility("default"))) void shim_order(int order) {
  shim::kind = order;
  shim::shuffle.seed(unsigned(order));
}
