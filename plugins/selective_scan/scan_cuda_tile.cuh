// The parts of the CUDA scan that its kernels share: the distribution of a tile over threads, loads, and the
// recurrence. docs/cuda-kernel.md describes the design. The tests also compile this file for the CPU, with a shim that
// defines CUDA's built-in names.
#pragma once

#include "scan_cuda_plan.h"
#include "scan_cuda_rows.cuh"

namespace vim_scan {

// A distribution of the work as compile-time constants, for the kThreads threads that scan one direction.
//
// In the recurrence, thread i keeps kStates states of kWidth adjacent channels. The lanes of a channel are threads of
// the same warp, and their numbers differ in bit 1 and in the highest bits: of two neighboring threads, either the one
// at distance 1 reads the same B and C or the one at distance 2 reads the same time steps. Shared memory returns such
// loads in half the cycles.
//
// In loads and stores, thread i handles its kWidth channels for kRows tokens.
template <int kStateCount, int kLaneCount, int kChannelCount, int kTokenCount, int kThreadCount>
struct Layout {
  static constexpr int kThreads = kThreadCount;
  static constexpr int kStates = kStateCount;
  static constexpr int kLanes = kLaneCount;
  static constexpr int kWidth = kChannelCount;
  static constexpr int kTime = kTokenCount;
  static constexpr int kUnits = kThreads / kLanes;  // groups of kWidth channels
  static constexpr int kChannels = kUnits * kWidth;
  static constexpr int kPadded = kStates * kLanes;  // the state size rounded up; the extra states stay zero
  static constexpr int kRows = kTime / kLanes;
  static constexpr int kProjectionRun = kTime * kPadded / kThreads;
  static constexpr int kWarpUnits = 32 / kLanes;
  static_assert(kUnits * kLanes == kThreads && kRows * kLanes == kTime && kThreads % 32 == 0);
  static_assert(kLanes >= 2 && kWarpUnits >= 2 && kPadded % kProjectionRun == 0);

  // The lane, and the unit within the block, of a thread in the recurrence.
  static __device__ __forceinline__ int lane_of(int thread) {
    return (thread >> 1 & 1) | (thread % 32 / 4 / (kWarpUnits / 2)) << 1;
  }
  static __device__ __forceinline__ int unit_of(int thread) {
    const int within = (thread & 1) | (thread % 32 / 4 % (kWarpUnits / 2)) << 1;
    return thread / 32 * kWarpUnits + within;
  }
  // The distance of two threads whose lanes differ by `half`, a power of two, and whose units are equal.
  static __device__ __forceinline__ constexpr int distance(int half) { return half == 1 ? 2 : kWarpUnits * half; }
};

// The layout of an entry of kCudaVariants.
template <int kVariant>
struct Shape : Layout<kCudaVariants[kVariant].states, kCudaVariants[kVariant].lanes, kCudaVariants[kVariant].channels,
                      kCudaVariants[kVariant].time, kCudaThreads> {};

// One tile of kTime tokens in float32.
template <class S>
struct alignas(16) Shared {
  float B[S::kTime][S::kPadded];
  float C[S::kTime][S::kPadded];
  float step[S::kTime][S::kUnits][2 * S::kWidth];  // dt and dt * u of each channel
  // The sums over the states, before skip term and gate. The padding avoids bank conflicts.
  float y[S::kTime][S::kUnits + S::kWarpUnits][S::kWidth];
};

// The position of a thread block. Tokens are counted in scan order from the chunk's first one.
struct Place {
  std::int64_t first_row;  // row of the first token in the whole batch
  int tokens;
  bool reverse;
  int first_channel;
  int end_channel;  // of the channels that share B and C
  std::uint32_t batch, group, chunk;
};

// `block`: the block's index; `reverse`: the direction.
__device__ __forceinline__ Place find_place(const KernelArguments& arguments, std::uint32_t block, bool reverse,
                                            int channels_per_block) {
  const CudaArguments& scan = arguments.scan;
  Place place;
  const std::uint32_t row = block / arguments.channel_tiles;
  const std::uint32_t sequence = row / arguments.grid_chunks;  // a group of a batch element
  const int group_channels = static_cast<int>(scan.channels) / scan.groups;
  place.batch = sequence / static_cast<std::uint32_t>(scan.groups);
  place.group = sequence - place.batch * static_cast<std::uint32_t>(scan.groups);
  place.chunk = row % arguments.grid_chunks;
  const int group_start = static_cast<int>(place.group) * group_channels;
  place.first_channel = group_start + static_cast<int>(block - row * arguments.channel_tiles) * channels_per_block;
  place.end_channel = group_start + group_channels;
  const std::int64_t begin = place.chunk * arguments.chunk_length;
  const std::int64_t left = scan.length - begin;
  place.tokens = static_cast<int>(left < arguments.chunk_length ? left : arguments.chunk_length);
  place.reverse = reverse;
  place.first_row = place.batch * scan.length + (reverse ? scan.length - 1 - begin : begin);
  return place;
}

// The part of a thread in loads and stores: tokens first, first + kLanes, ... of each tile.
template <class S>
struct Part {
  int first;
  int unit;
  int channel;  // the first of the thread's channels
  int count;    // channels from there on that exist
  bool whole;   // whether all channels of the block exist

  __device__ __forceinline__ Part(const Place& place, std::int64_t channels, int thread)
      : first(thread / S::kUnits), unit(thread % S::kUnits), channel(place.first_channel + unit * S::kWidth),
        count(static_cast<int>(channels) - channel), whole(place.first_channel + S::kChannels <= channels) {}

  // Whether the i-th of the thread's tokens exists; `left` tokens of the chunk begin with the tile.
  __device__ __forceinline__ bool has(int i, int left) const { return count > 0 && first + i * S::kLanes < left; }
};

// A thread's position in a tensor with `pitch` elements in a row: element `column` of its first token of a tile. It is
// advanced from tile to tile, which takes fewer instructions than computing it from the token.
template <class Bits>
struct Cursor {
  Bits* at;
  std::int64_t tile_step;

  __device__ __forceinline__ Cursor(Bits* tensor, std::int64_t pitch, const Place& place, int tile_tokens, int token,
                                    int column)
      : at(tensor + (place.first_row + (place.reverse ? -token : token)) * pitch + column),
        tile_step(place.reverse ? -tile_tokens * pitch : tile_tokens * pitch) {}
  __device__ __forceinline__ void advance() { at += tile_step; }
};

// The cursor for the thread's channels, of which the first is element `column` of a row.
template <class S, class Bits>
__device__ __forceinline__ Cursor<Bits> row_cursor(Bits* tensor, std::int64_t pitch, const Place& place,
                                                   const Part<S>& part, int column) {
  return Cursor<Bits>(tensor, pitch, place, S::kTime, part.first, column);
}

template <class Element>
using Input = Cursor<const typename Element::Bits>;

template <class Element>
__device__ __forceinline__ const typename Element::Bits* elements(const void* tensor) {
  return static_cast<const typename Element::Bits*>(tensor);
}

// The elements from a thread's token to its next one.
template <class S>
__device__ __forceinline__ int row_step(const Place& place, std::int64_t pitch) {
  return S::kLanes * static_cast<int>(place.reverse ? -pitch : pitch);
}

// One thread's channels of a tensor, for all of its tokens.
template <class Element, class S>
struct Rows {
  Run<Element, S::kWidth> row[S::kRows];
};

// Starts loading the thread's part of a tile of which `left` tokens exist, from a cursor. Missing elements are set to
// zero. `step`: from row_step.
template <class Element, class S>
__device__ __forceinline__ void load_rows(Rows<Element, S>& rows, const typename Element::Bits* from, int step,
                                          bool wide, const Part<S>& part, int left) {
  if (wide && part.whole && left >= S::kTime) {
#pragma unroll
    for (int i = 0; i < S::kRows; ++i) load_wide(rows.row[i], from + std::int64_t{i} * step);
    return;
  }
#pragma unroll
  for (int i = 0; i < S::kRows; ++i) {
    clear(rows.row[i]);
    if (part.has(i, left)) load_some(rows.row[i], from + std::int64_t{i} * step, part.count);
  }
}

// Starts loading a run of which `count` elements exist.
template <class Element, int kCount>
__device__ __forceinline__ void load_run(Run<Element, kCount>& run, const typename Element::Bits* from, bool wide,
                                         int count) {
  if (count <= 0) {
    clear(run);
  } else if (wide) {
    load_wide(run, from);
  } else {
    load_some(run, from, count);
  }
}

template <class Element, class S>
__device__ __forceinline__ void stage_projection(float (&to)[S::kTime][S::kPadded],
                                                 const Run<Element, S::kProjectionRun>& run, int thread) {
  float values[S::kProjectionRun];
#pragma unroll
  for (int i = 0; i < S::kProjectionRun; ++i) values[i] = get(run, i);
  store_floats(&to[0][0] + thread * S::kProjectionRun, values);
}

// Stores dt = softplus(x) and dt * u of the thread's part, where x is the time step before softplus. Tokens beyond the
// chunk get dt = 0, which does not change the state.
template <class Element, class S>
__device__ __forceinline__ void stage_steps(Shared<S>& shared, float (&x)[S::kRows][S::kWidth],
                                            const Rows<Element, S>& u, bool delta_softplus, const Part<S>& part,
                                            int left) {
  if (delta_softplus) {
#pragma unroll
    for (int i = 0; i < S::kRows; ++i) {
#pragma unroll
      for (int c = 0; c < S::kWidth; ++c) x[i][c] = softplus(x[i][c]);
    }
  }
  if (left < S::kTime) {
#pragma unroll
    for (int i = 0; i < S::kRows; ++i) {
#pragma unroll
      for (int c = 0; c < S::kWidth; ++c) x[i][c] = part.has(i, left) ? x[i][c] : 0.0f;
    }
  }
#pragma unroll
  for (int i = 0; i < S::kRows; ++i) {
    float step[2 * S::kWidth];
#pragma unroll
    for (int c = 0; c < S::kWidth; ++c) {
      step[2 * c] = x[i][c];
      step[2 * c + 1] = step[2 * c] * get(u.row[i], c);
    }
    store_floats(shared.step[part.first + i * S::kLanes][part.unit], step);
  }
}

// Sums each partial[i] over the lanes of a channel; lane i returns sum i. Each round exchanges half of the values, so
// kLanes sums take kLanes - 1 shuffles. It is recursive because the compiler needs constant indices early; otherwise
// it places the array in local memory.
template <class S, int kHalf>
__device__ __forceinline__ float sum_over_lanes(float (&partial)[S::kLanes], int lane) {
  if constexpr (kHalf == 0) {
    return partial[0];
  } else {
    const bool upper = (lane & kHalf) != 0;
#pragma unroll
    for (int i = 0; i < kHalf; ++i) {
      const float low = partial[i], high = partial[i + kHalf];
      partial[i] = (upper ? high : low) + __shfl_xor_sync(0xffffffffu, upper ? low : high, S::distance(kHalf));
    }
    return sum_over_lanes<S, kHalf / 2>(partial, lane);
  }
}

// The states of a thread.
template <class S>
struct States {
  float h[S::kWidth][S::kStates];
  float rate[S::kWidth][S::kStates];  // A * log2(e)
  float dt_sum[S::kWidth];            // over the tokens so far; only used for summaries
};

// Runs the recurrence over `groups` groups of kLanes tokens of the tile in shared memory.
template <bool kOutput, class S>
__device__ __forceinline__ void scan_tile(States<S>& states, Shared<S>& shared, int thread, int groups) {
  const int lane = S::lane_of(thread);
  const int unit = S::unit_of(thread);
#pragma unroll 1
  for (int group = 0; group < groups; ++group) {
    float partial[S::kWidth][S::kLanes];
#pragma unroll
    for (int i = 0; i < S::kLanes; ++i) {
      const int time = group * S::kLanes + i;
      float step[2 * S::kWidth], B[S::kStates], C[S::kStates];
      load_floats(step, shared.step[time][unit]);
      load_floats(B, &shared.B[time][lane * S::kStates]);
      if constexpr (kOutput) load_floats(C, &shared.C[time][lane * S::kStates]);
#pragma unroll
      for (int c = 0; c < S::kWidth; ++c) {
        partial[c][i] = 0.0f;
#pragma unroll
        for (int n = 0; n < S::kStates; ++n) {
          float& h = states.h[c][n];
          const float factor = decay(step[2 * c] * states.rate[c][n], (i * S::kWidth + c) * S::kStates + n);
          h = fmaf(factor, h, step[2 * c + 1] * B[n]);
          if constexpr (kOutput) partial[c][i] = n == 0 ? C[n] * h : fmaf(C[n], h, partial[c][i]);
        }
        if constexpr (!kOutput) states.dt_sum[c] += step[2 * c];
      }
    }
    if constexpr (kOutput) {
      float sums[S::kWidth];
#pragma unroll
      for (int c = 0; c < S::kWidth; ++c) sums[c] = sum_over_lanes<S, S::kLanes / 2>(partial[c], lane);
      store_floats(shared.y[group * S::kLanes + lane][unit], sums);
    }
  }
}

// Reads the thread's A, and sets the states to zero. The strides are those of A in floats.
template <class S>
__device__ __forceinline__ void start_states(States<S>& states, const float* A, std::int64_t channel_stride,
                                             std::int64_t state_stride, int channel, std::int64_t channels,
                                             int state_size, int lane) {
#pragma unroll
  for (int c = 0; c < S::kWidth; ++c) {
    states.dt_sum[c] = 0.0f;
#pragma unroll
    for (int n = 0; n < S::kStates; ++n) {
      const int state = lane * S::kStates + n;
      const bool exists = channel + c < channels && state < state_size;
      states.h[c][n] = 0.0f;
      states.rate[c][n] = exists ? kLog2E * A[(channel + c) * channel_stride + state * state_stride] : 0.0f;
    }
  }
}

// The thread's values of a tensor with one float for each channel; missing ones are zero.
template <class S>
__device__ __forceinline__ void load_constants(float (&to)[S::kWidth], const float* from, const Part<S>& part) {
#pragma unroll
  for (int c = 0; c < S::kWidth; ++c) to[c] = c < part.count ? from[part.channel + c] : 0.0f;
}

// The workspace: for each batch element and each chunk except the last, the state at the end of the chunk if it starts
// from zero (channels, kPadded); then, for the same chunks, the sums of dt (channels).
template <class S>
struct Summaries {
  float* states;
  float* dt_sums;
  std::int64_t channels;
  std::int64_t first;  // summary of the batch element's first chunk
  int end;             // the channels of the block are before this one

  __device__ __forceinline__ Summaries(void* workspace, std::int64_t batch, std::int64_t channel_count,
                                       std::uint32_t chunks, const Place& place)
      : states(static_cast<float*>(workspace)), channels(channel_count), end(place.end_channel) {
    const std::int64_t per_batch = chunks - 1;
    dt_sums = states + batch * per_batch * channels * S::kPadded;
    first = place.batch * per_batch;
  }
  __device__ __forceinline__ float* state(std::uint32_t chunk, int channel, int lane) const {
    return states + ((first + chunk) * channels + channel) * S::kPadded + lane * S::kStates;
  }
  __device__ __forceinline__ float* dt_sum(std::uint32_t chunk, int channel) const {
    return dt_sums + (first + chunk) * channels + channel;
  }
};

// Computes the initial state after this many chunks. The scan is linear in its state: over a chunk, the state decays by
// exp(A * sum of dt), and the chunk's final state from zero is added.
template <class S>
__device__ __forceinline__ void carry_in(States<S>& states, const Summaries<S>& summaries, std::uint32_t chunks,
                                         int channel, int lane) {
#pragma unroll 1
  for (std::uint32_t chunk = 0; chunk < chunks; ++chunk) {
#pragma unroll
    for (int c = 0; c < S::kWidth; ++c) {
      if (channel + c >= summaries.end) continue;
      float gained[S::kStates];
      load_floats(gained, summaries.state(chunk, channel + c, lane));
      const float dt_sum = *summaries.dt_sum(chunk, channel + c);
#pragma unroll
      for (int n = 0; n < S::kStates; ++n) {
        states.h[c][n] = fmaf(exp2_special(dt_sum * states.rate[c][n]), states.h[c][n], gained[n]);
      }
    }
  }
}

template <class S>
__device__ __forceinline__ void write_summary(const States<S>& states, const Summaries<S>& summaries,
                                              std::uint32_t chunk, int channel, int lane) {
#pragma unroll
  for (int c = 0; c < S::kWidth; ++c) {
    if (channel + c >= summaries.end) continue;
    float* to = summaries.state(chunk, channel + c, lane);
#pragma unroll
    for (int n = 0; n < S::kStates; ++n) to[n] = states.h[c][n];
    if (lane == 0) *summaries.dt_sum(chunk, channel + c) = states.dt_sum[c];
  }
}

// The number of groups of kLanes tokens in a tile of which `left` tokens exist.
template <class S>
__device__ __forceinline__ int token_groups(int left) {
  return ((left < S::kTime ? left : S::kTime) + S::kLanes - 1) / S::kLanes;
}

}  // namespace vim_scan
