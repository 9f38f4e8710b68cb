// A baseline selective scan for benchmarks: the algorithm of the public Mamba forward kernel, implemented from its
// description, not from its source. One thread block processes one channel of one batch element; the length is the last
// dimension in memory. The sequence is processed in chunks of kThreads * kItems tokens. In a chunk, each thread has
// kItems adjacent tokens. For each state, the pairs (decay, input) are combined within threads, then by a scan over the
// block, and the final state is carried to the next chunk. D and the gate are applied last.
//
// The tests also compile this file for the CPU, with the same shim as the project's kernel.
#pragma once

#include <cstdint>

#include "scan_cuda_math.cuh"

namespace scan_baseline {

constexpr int kWarp = 32;
constexpr int kMaxState = 64;

struct Arguments {
  std::int64_t batch, channels, length;
  int state;  // up to kMaxState
  bool delta_softplus;
  const void* u;            // (batch, channels, length)
  const void* delta;        // (batch, channels, length)
  const float* A;           // (channels, state)
  const void* B;            // (batch, state, length)
  const void* C;            // (batch, state, length)
  const float* D;           // (channels)
  const void* z;            // (batch, channels, length)
  const float* delta_bias;  // (channels)
  void* y;                  // (batch, channels, length)
};

// h -> decay * h + input.
struct Step {
  float decay, input;
};

__device__ __forceinline__ Step after(Step first, Step second) {
  return {first.decay * second.decay, fmaf(second.decay, first.input, second.input)};
}

template <int kThreads, int kItems>
struct Shared {
  static constexpr int kPadded = kItems + 1;  // avoids bank conflicts
  float tile[kThreads / kWarp][kWarp * kPadded];
  Step warps[2][kThreads / kWarp];
  float carried[2][kMaxState];
};

// Loads a warp's part of a row with coalesced accesses and passes each thread its tokens. 0 beyond the end.
template <class Element, int kThreads, int kItems>
__device__ void load(const void* row, std::int64_t start, std::int64_t length, Shared<kThreads, kItems>& shared,
                     float (&values)[kItems]) {
  using Bits = typename Element::Bits;
  constexpr int kPadded = Shared<kThreads, kItems>::kPadded;
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  const auto* from = static_cast<const Bits*>(row);
  const std::int64_t first = start + static_cast<std::int64_t>(warp) * kWarp * kItems;
  float* tile = shared.tile[warp];
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    const int place = i * kWarp + lane;
    const float value = first + place < length ? Element::to_float(from[first + place]) : 0.0f;
    tile[place / kItems * kPadded + place % kItems] = value;
  }
  __syncwarp();
#pragma unroll
  for (int i = 0; i < kItems; ++i) values[i] = tile[lane * kPadded + i];
  __syncwarp();
}

template <class Element, int kThreads, int kItems>
__device__ void store(void* row, std::int64_t start, std::int64_t length, Shared<kThreads, kItems>& shared,
                      const float (&values)[kItems]) {
  using Bits = typename Element::Bits;
  constexpr int kPadded = Shared<kThreads, kItems>::kPadded;
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  auto* to = static_cast<Bits*>(row);
  const std::int64_t first = start + static_cast<std::int64_t>(warp) * kWarp * kItems;
  float* tile = shared.tile[warp];
#pragma unroll
  for (int i = 0; i < kItems; ++i) tile[lane * kPadded + i] = values[i];
  __syncwarp();
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    const int place = i * kWarp + lane;
    const float value = tile[place / kItems * kPadded + place % kItems];
    if (first + place < length) to[first + place] = Element::from_float(value);
  }
  __syncwarp();
}

// Returns the combined steps of all threads before this one; `whole`: those of the block; `turn`: number of the call.
template <int kThreads, int kItems>
__device__ Step scan_threads(Step own, unsigned turn, Shared<kThreads, kItems>& shared, Step& whole) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  Step inclusive = own;
#pragma unroll
  for (int distance = 1; distance < kWarp; distance *= 2) {
    const Step before{__shfl_up_sync(0xffffffffu, inclusive.decay, distance),
                      __shfl_up_sync(0xffffffffu, inclusive.input, distance)};
    if (lane >= distance) inclusive = after(before, inclusive);
  }
  Step exclusive{__shfl_up_sync(0xffffffffu, inclusive.decay, 1), __shfl_up_sync(0xffffffffu, inclusive.input, 1)};
  if (lane == 0) exclusive = {1.0f, 0.0f};
  // Two sets alternate, so that a set is only written after all threads have read it.
  Step* warps = shared.warps[turn % 2];
  if (lane == kWarp - 1) warps[warp] = inclusive;
  __syncthreads();
  Step before{1.0f, 0.0f};
  whole = before;
#pragma unroll
  for (int i = 0; i < kThreads / kWarp; ++i) {
    if (i == warp) before = whole;
    whole = after(whole, warps[i]);
  }
  return after(before, exclusive);
}

template <class Element, int kThreads, int kItems>
__device__ void scan_block(const Arguments& a, Shared<kThreads, kItems>& shared) {
  const std::int64_t block = blockIdx.x;
  const std::int64_t channel = block % a.channels, batch = block / a.channels;
  const auto row = [&](const void* tensor, std::int64_t index) {
    return static_cast<const typename Element::Bits*>(tensor) + index * a.length;
  };
  const float* A = a.A + channel * a.state;
  const float skip = a.D[channel], bias = a.delta_bias[channel];
  unsigned turn = 0, chunk = 0;
  for (std::int64_t start = 0; start < a.length; start += kThreads * kItems, ++chunk) {
    float dt[kItems], gain[kItems], out[kItems];
    load<Element>(row(a.u, block), start, a.length, shared, gain);
    load<Element>(row(a.delta, block), start, a.length, shared, dt);
    const std::int64_t first = start + static_cast<std::int64_t>(threadIdx.x) * kItems;
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      out[i] = skip * gain[i];
      dt[i] += bias;
      if (a.delta_softplus) dt[i] = vim_scan::softplus(dt[i]);
      if (first + i >= a.length) dt[i] = 0.0f;  // does not change the state
      gain[i] *= dt[i];
    }
    for (int n = 0; n < a.state; ++n) {
      const float rate = A[n] * vim_scan::kLog2E;
      float value[kItems];
      load<Element>(row(a.B, batch * a.state + n), start, a.length, shared, value);
      Step steps[kItems];
#pragma unroll
      for (int i = 0; i < kItems; ++i) steps[i] = {vim_scan::exp2_special(dt[i] * rate), gain[i] * value[i]};
      Step own = steps[0];
#pragma unroll
      for (int i = 1; i < kItems; ++i) own = after(own, steps[i]);
      Step whole;
      const Step before = scan_threads(own, turn++, shared, whole);
      const float carried = chunk == 0 ? 0.0f : shared.carried[chunk % 2][n];
      if (threadIdx.x == 0) shared.carried[(chunk + 1) % 2][n] = fmaf(whole.decay, carried, whole.input);
      float h = fmaf(before.decay, carried, before.input);
      load<Element>(row(a.C, batch * a.state + n), start, a.length, shared, value);
#pragma unroll
      for (int i = 0; i < kItems; ++i) {
        h = fmaf(steps[i].decay, h, steps[i].input);
        out[i] = fmaf(h, value[i], out[i]);
      }
    }
    float gate[kItems];
    load<Element>(row(a.z, block), start, a.length, shared, gate);
#pragma unroll
    for (int i = 0; i < kItems; ++i) out[i] *= vim_scan::silu(gate[i]);
    store<Element>(static_cast<typename Element::Bits*>(a.y) + block * a.length, start, a.length, shared, out);
    __syncthreads();  // shared.carried has been written
  }
}

}  // namespace scan_baseline
