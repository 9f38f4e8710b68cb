// Runs the source of a CUDA kernel on the CPU, one block after another. Each thread of a block is a fiber that yields
// at barriers and at exchanges between lanes. This tests logic, index arithmetic and tails, but not speed, the GPU's
// compiler or its memory model.
#pragma once

#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

#define __device__
#define __forceinline__ inline

struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) uint2 { std::uint32_t x, y; };
struct alignas(16) uint4 { std::uint32_t x, y, z, w; };
struct shim_index { unsigned x; };

inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint2 make_uint2(std::uint32_t x, std::uint32_t y) { return {x, y}; }
inline uint4 make_uint4(std::uint32_t x, std::uint32_t y, std::uint32_t z, std::uint32_t w) { return {x, y, z, w}; }

template <class To, class From>
To shim_bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

inline float __uint_as_float(std::uint32_t bits) { return shim_bits<float>(bits); }
inline std::uint32_t __float_as_uint(float value) { return shim_bits<std::uint32_t>(value); }
inline float __fdividef(float x, float y) { return x / y; }

template <class T>
T __ldg(const T* from) { return *from; }

// bfloat16 and float16 in integer arithmetic, rounded to nearest, ties to even.
struct shim_bfloat16 { std::uint16_t bits; };
inline shim_bfloat16 __float2bfloat16_rn(float value) {
  const std::uint32_t bits = __float_as_uint(value);
  if (std::isnan(value)) return {0x7fff};
  return {static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}
inline std::uint16_t __bfloat16_as_ushort(shim_bfloat16 value) { return value.bits; }

struct shim_float16 { std::uint16_t bits; };
inline shim_float16 __ushort_as_half(std::uint16_t bits) { return {bits}; }
inline std::uint16_t __half_as_ushort(shim_float16 value) { return value.bits; }
inline float __half2float(shim_float16 value) {
  const int exponent = value.bits >> 10 & 31, fraction = value.bits & 1023;
  const float sign = value.bits >> 15 ? -1.0f : 1.0f;
  if (exponent == 31) return fraction ? NAN : sign * INFINITY;
  return sign * (exponent ? std::ldexp(static_cast<float>(1024 + fraction), exponent - 25)
                          : std::ldexp(static_cast<float>(fraction), -24));
}
inline shim_float16 __float2half_rn(float value) {
  const auto sign = static_cast<std::uint16_t>(__float_as_uint(value) >> 16 & 0x8000u);
  const float size = std::fabs(value);
  if (std::isnan(value)) return {0x7fff};
  if (size >= 65520.0f) return {static_cast<std::uint16_t>(sign | 0x7c00)};
  int exponent = 0;
  std::frexp(size, &exponent);  // size = m * 2^exponent with m in [0.5, 1)
  exponent = exponent < -13 ? -13 : exponent;
  // Units in the last place at this exponent; nearbyint rounds ties to even.
  const auto units = static_cast<unsigned>(std::nearbyint(std::ldexp(size, 11 - exponent)));
  const unsigned biased = units >= 1024 ? static_cast<unsigned>(exponent + 13) : 0;
  return {static_cast<std::uint16_t>(sign | ((biased << 10) + units))};
}

namespace cuda_shim {

enum class Wait { kNone, kWarp, kBlock, kDone };

// The order in which threads run between two barriers. Running both finds errors that one of them hides.
enum class Order { kAscending, kDescending };

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  Wait wait = Wait::kNone;
  unsigned thread = 0;
  unsigned exchanges = 0;
  unsigned barriers = 0;
  std::uint64_t slots[2] = {0, 0};
  void* fake_stack = nullptr;
};

struct State {
  std::vector<Fiber> fibers;
  Fiber* current = nullptr;
  ucontext_t scheduler;
  const void* scheduler_stack = nullptr;
  std::size_t scheduler_size = 0;
  void* scheduler_fake = nullptr;
  const std::function<void()>* body = nullptr;
  unsigned block = 0;
  int skipped_barrier = -1;  // barrier that all threads skip, to check that tests detect it
};
inline State state;

constexpr std::size_t kStackBytes = 256 << 10;
constexpr unsigned kWarp = 32;

inline void announce_switch([[maybe_unused]] void** fake, [[maybe_unused]] const void* stack,
                            [[maybe_unused]] std::size_t size) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(fake, stack, size);
#endif
}

inline void announce_arrival([[maybe_unused]] void* fake, [[maybe_unused]] const void** stack,
                             [[maybe_unused]] std::size_t* size) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake, stack, size);
#endif
}

inline void leave(Wait why) {
  Fiber& self = *state.current;
  self.wait = why;
  announce_switch(why == Wait::kDone ? nullptr : &self.fake_stack, state.scheduler_stack, state.scheduler_size);
  swapcontext(&self.context, &state.scheduler);
  announce_arrival(self.fake_stack, &state.scheduler_stack, &state.scheduler_size);
}

inline void enter() {
  announce_arrival(nullptr, &state.scheduler_stack, &state.scheduler_size);
  (*state.body)();
  leave(Wait::kDone);
}

inline void resume(Fiber& fiber) {
  state.current = &fiber;
  announce_switch(&state.scheduler_fake, fiber.stack.get(), kStackBytes);
  swapcontext(&state.scheduler, &fiber.context);
  announce_arrival(state.scheduler_fake, nullptr, nullptr);
}

inline void start(unsigned threads) {
  state.fibers.resize(threads);
  for (unsigned i = 0; i < threads; ++i) {
    Fiber& fiber = state.fibers[i];
    if (!fiber.stack) fiber.stack.reset(new char[kStackBytes]);
    fiber.wait = Wait::kNone;
    fiber.thread = i;
    fiber.exchanges = fiber.barriers = 0;
    fiber.fake_stack = nullptr;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStackBytes;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, enter, 0);
  }
}

inline bool all_wait(std::size_t first, std::size_t last, Wait why) {
  for (std::size_t i = first; i < last; ++i) {
    if (state.fibers[i].wait != why) return false;
  }
  return true;
}

inline void release(std::size_t first, std::size_t last) {
  for (std::size_t i = first; i < last; ++i) state.fibers[i].wait = Wait::kNone;
}

// Resumes the warps or the block in which all threads wait; false if all threads are done.
inline bool release_waiting() {
  const std::size_t count = state.fibers.size();
  if (all_wait(0, count, Wait::kDone)) return false;
  bool released = false;
  for (std::size_t warp = 0; warp < count; warp += kWarp) {
    if (!all_wait(warp, warp + kWarp, Wait::kWarp)) continue;
    release(warp, warp + kWarp);
    released = true;
  }
  if (!released && all_wait(0, count, Wait::kBlock)) {
    release(0, count);
    released = true;
  }
  if (!released) {
    std::fprintf(stderr, "cuda_shim: block %u: deadlock, some threads do not reach a barrier\n", state.block);
    std::abort();
  }
  return true;
}

// Runs `blocks` blocks of `threads` threads, a multiple of the warp size; calls `prepare` before each block.
inline void run(unsigned blocks, unsigned threads, Order order, const std::function<void()>& prepare,
                const std::function<void()>& body) {
  state.body = &body;
  for (unsigned turn = 0; turn < blocks; ++turn) {
    state.block = order == Order::kAscending ? turn : blocks - 1 - turn;
    prepare();
    start(threads);
    do {
      for (unsigned i = 0; i < threads; ++i) {
        Fiber& fiber = state.fibers[order == Order::kAscending ? i : threads - 1 - i];
        if (fiber.wait == Wait::kNone) resume(fiber);
      }
    } while (release_waiting());
  }
}

// Two slots alternate, because a lane can be at most one exchange ahead of the slowest one.
template <class T>
T exchange_with(T value, unsigned partner) {
  static_assert(sizeof(T) <= sizeof(std::uint64_t));
  Fiber& self = *state.current;
  const unsigned slot = self.exchanges++ % 2;
  std::memcpy(&self.slots[slot], &value, sizeof value);
  leave(Wait::kWarp);
  T result;
  std::memcpy(&result, &state.fibers[partner].slots[slot], sizeof result);
  return result;
}

}  // namespace cuda_shim

#define threadIdx (shim_index{cuda_shim::state.current->thread})
#define blockIdx (shim_index{cuda_shim::state.block})

inline void __syncthreads() {
  if (static_cast<int>(cuda_shim::state.current->barriers++) == cuda_shim::state.skipped_barrier) return;
  cuda_shim::leave(cuda_shim::Wait::kBlock);
}

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes) {
  if (mask != 0xffffffffu || lanes <= 0 || lanes >= 32) std::abort();
  return cuda_shim::exchange_with(value, cuda_shim::state.current->thread ^ static_cast<unsigned>(lanes));
}

template <class T>
T __shfl_up_sync(unsigned mask, T value, int distance) {
  if (mask != 0xffffffffu || distance <= 0 || distance >= 32) std::abort();
  const unsigned thread = cuda_shim::state.current->thread;
  const bool within = thread % cuda_shim::kWarp >= static_cast<unsigned>(distance);
  return cuda_shim::exchange_with(value, within ? thread - static_cast<unsigned>(distance) : thread);
}

inline void __syncwarp() { cuda_shim::leave(cuda_shim::Wait::kWarp); }
