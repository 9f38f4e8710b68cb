// The CUDA scan: the work of one thread block. docs/cuda-kernel.md describes the design. The tests also compile this
// file for the CPU, with a shim that defines CUDA's built-in names.
#pragma once

#include "scan_cuda_plan.h"
#include "scan_cuda_rows.cuh"

namespace vim_scan {

// A variant as compile-time constants. In the recurrence, thread i of a block keeps kStates states of channel
// i / kLanes, from (i % kLanes) * kStates on. In loads and stores, it handles kRun adjacent channels of token
// i / kThreadsPerRow.
template <int kVariant>
struct Shape {
  static constexpr int kStates = kCudaVariants[kVariant].states;
  static constexpr int kLanes = kCudaVariants[kVariant].lanes;
  static constexpr int kTime = kCudaVariants[kVariant].time;
  static constexpr int kChannels = kCudaThreads / kLanes;
  static constexpr int kPadded = kStates * kLanes;  // the state size rounded up; the extra states stay zero
  static constexpr int kRun = channel_run(kCudaVariants[kVariant]);
  static constexpr int kThreadsPerRow = kChannels / kRun;
  static constexpr int kProjectionRun = projection_run(kCudaVariants[kVariant]);
  static_assert(kChannels * kLanes == kCudaThreads && kTime * kChannels == kRun * kCudaThreads);
  static_assert(kTime % kLanes == 0 && kChannels % kRun == 0 && kPadded % kProjectionRun == 0);
};

// One tile of kTime tokens in float32. The odd pitch of `step` and `y` avoids bank conflicts.
template <class S>
struct alignas(16) Shared {
  float B[S::kTime][S::kPadded];
  float C[S::kTime][S::kPadded];
  float2 step[S::kTime][S::kChannels + 1];  // dt and dt * u
  float y[S::kTime][S::kChannels + 1];      // sum over the states, before skip term and gate
  float delta_bias[S::kChannels];
  float D[S::kChannels];
};

// The position of a thread block. Tokens are counted in scan order from the chunk's first one.
struct Place {
  std::int64_t first_row;  // row of the first token in the whole batch
  int tokens;
  int row_step;  // from one token to the next: 1 or -1
  int first_channel;
  std::uint32_t batch, chunk;
};

__device__ __forceinline__ Place find_place(const KernelArguments& arguments, int channels_per_block) {
  const CudaArguments& scan = arguments.scan;
  Place place;
  const std::uint32_t block = blockIdx.x;
  const std::uint32_t row = block / arguments.channel_tiles;
  place.first_channel = static_cast<int>(block - row * arguments.channel_tiles) * channels_per_block;
  place.batch = row / arguments.grid_chunks;
  place.chunk = row % arguments.grid_chunks;
  const std::int64_t begin = place.chunk * arguments.chunk_length;
  const std::int64_t left = scan.length - begin;
  place.tokens = static_cast<int>(left < arguments.chunk_length ? left : arguments.chunk_length);
  place.row_step = scan.reverse ? -1 : 1;
  place.first_row = place.batch * scan.length + (scan.reverse ? scan.length - 1 - begin : begin);
  return place;
}

__device__ __forceinline__ std::int64_t memory_row(const Place& place, int token) {
  return place.first_row + place.row_step * token;
}

// One thread's part of a tile, as loaded from memory.
template <class Element, class S>
struct Loaded {
  Run<Element, S::kRun> u, delta;
  Run<Element, S::kProjectionRun> B, C;
};

template <class Element, int kCount>
__device__ __forceinline__ void load_run(Run<Element, kCount>& run, const void* tensor, std::int64_t offset, bool wide,
                                         int count) {
  const auto* base = static_cast<const typename Element::Bits*>(tensor);
  if (count <= 0) {
    clear(run);
  } else if (wide) {
    load_wide(run, base + offset);
  } else {
    load_some(run, base + offset, count);
  }
}

// Starts loading the thread's run of a tensor with the shape of u, for the tile at `token`. Elements beyond the chunk
// or the channels are set to zero.
template <class Element, class S>
__device__ __forceinline__ void load_row(Run<Element, S::kRun>& run, const void* tensor,
                                         const KernelArguments& arguments, const Place& place, int token) {
  const int thread = static_cast<int>(threadIdx.x);
  const int mine = token + thread / S::kThreadsPerRow;
  const int channel = place.first_channel + thread % S::kThreadsPerRow * S::kRun;
  const int channels = static_cast<int>(arguments.scan.channels);
  load_run(run, tensor, memory_row(place, mine) * channels + channel, arguments.wide_rows,
           mine < place.tokens ? channels - channel : 0);
}

// Likewise for B and C.
template <class Element, class S>
__device__ __forceinline__ void load_projection(Run<Element, S::kProjectionRun>& run, const void* tensor,
                                                const KernelArguments& arguments, const Place& place, int token) {
  const int first = static_cast<int>(threadIdx.x) * S::kProjectionRun;
  const int mine = token + first / S::kPadded;
  const int state = first % S::kPadded;
  const int states = static_cast<int>(arguments.scan.state);
  load_run(run, tensor, memory_row(place, mine) * states + state, arguments.wide_projections,
           mine < place.tokens ? states - state : 0);
}

// Starts loading the inputs of the recurrence for the tile at `token`.
template <bool kOutput, class Element, class S>
__device__ __forceinline__ void load_tile(Loaded<Element, S>& loaded, const KernelArguments& arguments,
                                          const Place& place, int token) {
  load_row<Element, S>(loaded.u, arguments.scan.u, arguments, place, token);
  load_row<Element, S>(loaded.delta, arguments.scan.delta, arguments, place, token);
  load_projection<Element, S>(loaded.B, arguments.scan.B, arguments, place, token);
  if constexpr (kOutput) load_projection<Element, S>(loaded.C, arguments.scan.C, arguments, place, token);
}

// Converts the loaded tile to float32 in shared memory, with dt = softplus(delta + delta_bias). Tokens beyond the chunk
// get dt = 0, which does not change the state.
template <bool kOutput, class Element, class S>
__device__ __forceinline__ void stage_tile(Shared<S>& shared, const Loaded<Element, S>& loaded,
                                           const CudaArguments& scan, bool inside) {
  const int thread = static_cast<int>(threadIdx.x);
  const int row = thread / S::kThreadsPerRow;
  const int column = thread % S::kThreadsPerRow * S::kRun;
#pragma unroll
  for (int i = 0; i < S::kRun; ++i) {
    const float x = get(loaded.delta, i) + shared.delta_bias[column + i];
    const float positive = scan.delta_softplus ? softplus(x) : x;
    const float dt = inside ? positive : 0.0f;
    shared.step[row][column + i] = make_float2(dt, dt * get(loaded.u, i));
  }
  const int first = thread * S::kProjectionRun;
#pragma unroll
  for (int i = 0; i < S::kProjectionRun; ++i) {
    (&shared.B[first / S::kPadded][first % S::kPadded])[i] = get(loaded.B, i);
    if constexpr (kOutput) (&shared.C[first / S::kPadded][first % S::kPadded])[i] = get(loaded.C, i);
  }
}

// Sums each partial[i] over the lanes of a channel; lane i returns sum i. Each round exchanges half of the values, so
// kLanes sums take kLanes - 1 shuffles. It is recursive because the compiler needs constant indices early; otherwise
// it places the array in local memory.
template <int kHalf, int kLanes>
__device__ __forceinline__ float sum_over_lanes(float (&partial)[kLanes], int lane) {
  if constexpr (kHalf == 0) {
    return partial[0];
  } else {
    const bool upper = (lane & kHalf) != 0;
#pragma unroll
    for (int i = 0; i < kHalf; ++i) {
      const float low = partial[i], high = partial[i + kHalf];
      partial[i] = (upper ? high : low) + __shfl_xor_sync(0xffffffffu, upper ? low : high, kHalf);
    }
    return sum_over_lanes<kHalf / 2>(partial, lane);
  }
}

// The states of a thread.
template <class S>
struct States {
  float h[S::kStates];
  float rate[S::kStates];  // A * log2(e)
  float dt_sum;            // over the tokens so far; only used for summaries
};

// Runs the recurrence over `groups` groups of kLanes tokens of the tile in shared memory.
template <bool kOutput, class S>
__device__ __forceinline__ void scan_tile(States<S>& states, Shared<S>& shared, int groups) {
  const int lane = static_cast<int>(threadIdx.x) % S::kLanes;
  const int channel = static_cast<int>(threadIdx.x) / S::kLanes;
#pragma unroll 1
  for (int group = 0; group < groups; ++group) {
    float partial[S::kLanes];
#pragma unroll
    for (int i = 0; i < S::kLanes; ++i) {
      const int time = group * S::kLanes + i;
      const float2 step = shared.step[time][channel];
      float B[S::kStates], C[S::kStates];
      load_floats(B, &shared.B[time][lane * S::kStates]);
      if constexpr (kOutput) load_floats(C, &shared.C[time][lane * S::kStates]);
      partial[i] = 0.0f;
#pragma unroll
      for (int n = 0; n < S::kStates; ++n) {
        const float factor = decay(step.x * states.rate[n], i * S::kStates + n);
        states.h[n] = fmaf(factor, states.h[n], step.y * B[n]);
        if constexpr (kOutput) partial[i] = fmaf(C[n], states.h[n], partial[i]);
      }
      if constexpr (!kOutput) states.dt_sum += step.x;
    }
    if constexpr (kOutput) {
      shared.y[group * S::kLanes + lane][channel] = sum_over_lanes<S::kLanes / 2>(partial, lane);
    }
  }
}

// Adds the skip term, applies the gate and stores the thread's run of the tile at `token`.
template <class Element, class S>
__device__ __forceinline__ void store_tile(const Shared<S>& shared, const Run<Element, S::kRun>& u,
                                           const Run<Element, S::kRun>& z, const KernelArguments& arguments,
                                           const Place& place, int token) {
  const CudaArguments& scan = arguments.scan;
  const int thread = static_cast<int>(threadIdx.x);
  const int row = thread / S::kThreadsPerRow;
  const int column = thread % S::kThreadsPerRow * S::kRun;
  const int channel = place.first_channel + column;
  const int count = static_cast<int>(scan.channels) - channel;
  if (token + row >= place.tokens || count <= 0) return;
  Run<Element, S::kRun> y;
  clear(y);
#pragma unroll
  for (int i = 0; i < S::kRun; ++i) {
    const float ungated = fmaf(shared.D[column + i], get(u, i), shared.y[row][column + i]);
    put_bits(y, i, Element::from_float(ungated * silu(get(z, i))));
  }
  auto* to = static_cast<typename Element::Bits*>(scan.y) +
             memory_row(place, token + row) * scan.channels + channel;
  if (arguments.wide_rows) {
    store_wide(y, to);
  } else {
    store_some(y, to, count);
  }
}

// The workspace: for each batch element and each chunk except the last, the state at the end of the chunk if it starts
// from zero (channels, kPadded); then, for the same chunks, the sums of dt (channels).
template <class S>
struct Summaries {
  float* states;
  float* dt_sums;
  std::int64_t channels;
  std::int64_t first;  // summary of the batch element's first chunk

  __device__ __forceinline__ Summaries(const KernelArguments& arguments, const Place& place)
      : states(static_cast<float*>(arguments.scan.workspace)), channels(arguments.scan.channels) {
    const std::int64_t per_batch = arguments.chunks - 1;
    dt_sums = states + arguments.scan.batch * per_batch * channels * S::kPadded;
    first = place.batch * per_batch;
  }
  __device__ __forceinline__ float* state(std::uint32_t chunk, int channel, int lane) const {
    return states + ((first + chunk) * channels + channel) * S::kPadded + lane * S::kStates;
  }
  __device__ __forceinline__ float* dt_sum(std::uint32_t chunk, int channel) const {
    return dt_sums + (first + chunk) * channels + channel;
  }
};

// Computes the initial state of the chunk. The scan is linear in its state: over a chunk, the state decays by
// exp(A * sum of dt), and the chunk's final state from zero is added.
template <class S>
__device__ __forceinline__ void carry_in(States<S>& states, const KernelArguments& arguments, const Place& place,
                                         int channel, int lane) {
  const Summaries<S> summaries(arguments, place);
#pragma unroll 2
  for (std::uint32_t chunk = 0; chunk < place.chunk; ++chunk) {
    float gained[S::kStates];
    load_floats(gained, summaries.state(chunk, channel, lane));
    const float dt_sum = *summaries.dt_sum(chunk, channel);
#pragma unroll
    for (int n = 0; n < S::kStates; ++n) {
      states.h[n] = fmaf(exp2_special(dt_sum * states.rate[n]), states.h[n], gained[n]);
    }
  }
}

template <class S>
__device__ __forceinline__ void write_summary(const States<S>& states, const KernelArguments& arguments,
                                              const Place& place, int channel, int lane) {
  const Summaries<S> summaries(arguments, place);
  float* to = summaries.state(place.chunk, channel, lane);
#pragma unroll
  for (int n = 0; n < S::kStates; ++n) to[n] = states.h[n];
  if (lane == 0) *summaries.dt_sum(place.chunk, channel) = states.dt_sum;
}

// Scans one chunk of one batch element for the block's channels. With kOutput, it starts from the carried-in state and
// writes y; without, it starts from zero and writes only the summary.
template <bool kOutput, class Element, class S>
__device__ __forceinline__ void scan_block(const KernelArguments& arguments, Shared<S>& shared) {
  const CudaArguments& scan = arguments.scan;
  const Place place = find_place(arguments, S::kChannels);
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % S::kLanes;
  const int channel = place.first_channel + thread / S::kLanes;
  const bool exists = channel < scan.channels;

  Loaded<Element, S> loaded;
  load_tile<kOutput>(loaded, arguments, place, 0);
  for (int i = thread; i < S::kChannels; i += kCudaThreads) {
    const bool there = place.first_channel + i < scan.channels;
    shared.delta_bias[i] = there ? scan.delta_bias[place.first_channel + i] : 0.0f;
    shared.D[i] = there ? scan.D[place.first_channel + i] : 0.0f;
  }
  States<S> states;
  states.dt_sum = 0.0f;
#pragma unroll
  for (int n = 0; n < S::kStates; ++n) {
    const int state = lane * S::kStates + n;
    states.h[n] = 0.0f;
    states.rate[n] = exists && state < scan.state ? kLog2E * scan.A[channel * scan.state + state] : 0.0f;
  }
  if (kOutput && exists) carry_in(states, arguments, place, channel, lane);
  __syncthreads();

  for (int token = 0; token < place.tokens; token += S::kTime) {
    stage_tile<kOutput>(shared, loaded, scan, token + thread / S::kThreadsPerRow < place.tokens);
    const Run<Element, S::kRun> u = loaded.u;
    Run<Element, S::kRun> z;
    __syncthreads();
    // The gate of this tile and the next tile are loaded during the recurrence.
    if constexpr (kOutput) load_row<Element, S>(z, scan.z, arguments, place, token);
    load_tile<kOutput>(loaded, arguments, place, token + S::kTime);
    const int left = place.tokens - token;
    scan_tile<kOutput>(states, shared, ((left < S::kTime ? left : S::kTime) + S::kLanes - 1) / S::kLanes);
    __syncthreads();
    if constexpr (kOutput) store_tile<Element>(shared, u, z, arguments, place, token);
  }
  if (!kOutput && exists) write_summary(states, arguments, place, channel, lane);
}

}  // namespace vim_scan
