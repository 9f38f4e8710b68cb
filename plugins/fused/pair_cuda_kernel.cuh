// ScanPair on a GPU: the work of one thread block, which scans both directions of its channels.
#pragma once

#include "pair_cuda_plan.h"
#include "scan_cuda_tile.cuh"

namespace vim_fused {

using namespace vim_scan;

template <int kVariant>
struct PairShape : Layout<kPairVariants[kVariant].states, kPairVariants[kVariant].lanes,
                          kPairVariants[kVariant].channels, kPairVariants[kVariant].time, kPairThreads> {
  // In loads of the time step's projection, thread i handles runs i % kColumns, i % kColumns + kColumns, ... of 4 values
  // of token i / kColumns.
  static constexpr int kColumns = kPairThreads / kPairVariants[kVariant].time;
  static constexpr int kStepRuns = static_cast<int>(kPairMaxRank) / (4 * kColumns);
  static_assert(kStepRuns * 4 * kColumns == kPairMaxRank);
};

// The shared memory of one direction: a tile, the weights of the time step, (padded rank, kChannels), its bias and D,
// (kChannels), and its projection for one tile, (kTime, padded rank). Padding is zero.
template <class S>
struct PairMemory {
  Shared<S>* tile;
  float* weights;
  float* delta_bias;
  float* D;
  float* steps;

  static __device__ __forceinline__ std::size_t bytes(int rank) {
    return sizeof(Shared<S>) + sizeof(float) * static_cast<std::size_t>(rank * (S::kChannels + S::kTime) + 2 * S::kChannels);
  }
  __device__ __forceinline__ PairMemory(char* memory, int rank, int direction) {
    char* own = memory + direction * bytes(rank);
    tile = reinterpret_cast<Shared<S>*>(own);
    weights = reinterpret_cast<float*>(own + sizeof(Shared<S>));
    delta_bias = weights + rank * S::kChannels;
    D = delta_bias + S::kChannels;
    steps = D + S::kChannels;
  }
};

// Both directions of a block scan the same tokens, so that their sums meet in this block.
__device__ __forceinline__ Place pair_place(const PairKernelArguments& arguments, std::uint32_t block, bool reverse,
                                            int channels_per_block) {
  Place place;
  const std::uint32_t row = block / arguments.channel_tiles;
  place.first_channel = static_cast<int>(block - row * arguments.channel_tiles) * channels_per_block;
  place.end_channel = static_cast<int>(arguments.scan.channels);
  place.group = 0;
  place.batch = row / arguments.chunks;
  const std::uint32_t chunk = row % arguments.chunks;
  const std::int64_t begin = chunk * arguments.chunk_length;
  const std::int64_t left = arguments.scan.length - begin;
  place.tokens = static_cast<int>(left < arguments.chunk_length ? left : arguments.chunk_length);
  place.reverse = reverse;
  place.chunk = reverse ? arguments.chunks - 1 - chunk : chunk;
  place.first_row = place.batch * arguments.scan.length + begin + (reverse ? place.tokens - 1 : 0);
  return place;
}

// The time steps' projection of a tile, as loaded by one thread.
template <class Element, class S>
struct Steps {
  Run<Element, 4> run[S::kStepRuns];
};

template <class Element, class S>
__device__ __forceinline__ void load_steps(Steps<Element, S>& steps, const Input<Element>& cursor, int rank, bool wide,
                                           bool exists, int thread) {
#pragma unroll
  for (int i = 0; i < S::kStepRuns; ++i) {
    clear(steps.run[i]);
    if (4 * i * S::kColumns >= rank) continue;
    const int count = exists ? rank - 4 * (thread % S::kColumns + i * S::kColumns) : 0;
    load_run(steps.run[i], cursor.at + 4 * i * S::kColumns, wide, count);
  }
}

// `rank`: padded.
template <class Element, class S>
__device__ __forceinline__ void stage_projected_steps(const PairMemory<S>& memory, const Steps<Element, S>& steps,
                                                      int rank, int thread) {
#pragma unroll
  for (int i = 0; i < S::kStepRuns; ++i) {
    const int column = 4 * (thread % S::kColumns + i * S::kColumns);
    if (column >= rank) continue;
    const float values[4] = {get(steps.run[i], 0), get(steps.run[i], 1), get(steps.run[i], 2), get(steps.run[i], 3)};
    store_floats(memory.steps + thread / S::kColumns * rank + column, values);
  }
}

// x = bias + projection @ weights, for the thread's part of the tile.
template <class S>
__device__ __forceinline__ void project_steps(float (&x)[S::kRows][S::kWidth], const PairMemory<S>& memory, int rank,
                                              const Part<S>& part) {
  float bias[S::kWidth];
  load_floats(bias, memory.delta_bias + part.unit * S::kWidth);
#pragma unroll
  for (int i = 0; i < S::kRows; ++i) {
#pragma unroll
    for (int c = 0; c < S::kWidth; ++c) x[i][c] = bias[c];
  }
#pragma unroll 1
  for (int r = 0; r < rank; r += 4) {
    float weights[4][S::kWidth];
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      load_floats(weights[k], memory.weights + (r + k) * S::kChannels + part.unit * S::kWidth);
    }
#pragma unroll
    for (int i = 0; i < S::kRows; ++i) {
      float steps[4];
      load_floats(steps, memory.steps + (part.first + i * S::kLanes) * rank + r);
#pragma unroll
      for (int k = 0; k < 4; ++k) {
#pragma unroll
        for (int c = 0; c < S::kWidth; ++c) x[i][c] = fmaf(steps[k], weights[k][c], x[i][c]);
      }
    }
  }
}

// One thread's part of a tile, as loaded from memory.
template <class Element, class S>
struct PairLoaded {
  Rows<Element, S> u;
  Run<Element, S::kProjectionRun> B, C;
  Steps<Element, S> steps;
};

// The positions from which a thread loads the tiles of the recurrence.
template <bool kOutput, class Element, class S>
struct PairInputs {
  Input<Element> u, B, steps;  // C comes after B in the same row
  int row_elements;
  int rank;
  int token, states;  // of the run of B and C: its token within the tile, and the states from there on that exist
  int step_token;

  __device__ __forceinline__ PairInputs(const CudaScanPair& scan, const CudaScanPair::Direction& direction,
                                        const Place& place, const Part<S>& part, int thread)
      : u(row_cursor(elements<Element>(direction.u), scan.channels, place, part, part.channel)),
        B(elements<Element>(direction.projection), scan.rank + 2 * scan.state, place, S::kTime,
          thread * S::kProjectionRun / S::kPadded,
          static_cast<int>(scan.rank) + thread * S::kProjectionRun % S::kPadded),
        steps(elements<Element>(direction.projection), scan.rank + 2 * scan.state, place, S::kTime,
              thread / S::kColumns, 4 * (thread % S::kColumns)),
        row_elements(row_step<S>(place, scan.channels)), rank(static_cast<int>(scan.rank)),
        token(thread * S::kProjectionRun / S::kPadded),
        states(static_cast<int>(scan.state) - thread * S::kProjectionRun % S::kPadded),
        step_token(thread / S::kColumns) {}

  // Starts loading a tile of which `left` tokens exist, and advances.
  __device__ __forceinline__ void load(PairLoaded<Element, S>& loaded, const PairKernelArguments& arguments,
                                       const Part<S>& part, int thread, int left) {
    load_rows<Element>(loaded.u, u.at, row_elements, arguments.wide_rows, part, left);
    const int count = token < left ? states : 0;
    load_run(loaded.B, B.at, arguments.wide_projections, count);
    if constexpr (kOutput) load_run(loaded.C, B.at + arguments.scan.state, arguments.wide_projections, count);
    load_steps<Element, S>(loaded.steps, steps, rank, arguments.wide_projections, step_token < left, thread);
    u.advance(), B.advance(), steps.advance();
  }
};

// When the two directions reach the tokens of a tile. Token t of one direction is token tokens - 1 - t of the other;
// tile number n of both is processed at the same time.
template <class S>
struct Meeting {
  int tile;    // the tile's number
  int last;    // the last token in the other direction's numbering: tokens - 1
  bool mixed;  // some of the tokens are in the same tile of the other direction
  bool first;  // otherwise: whether the other direction reaches all of them later

  __device__ __forceinline__ Meeting(int number, int tokens) : tile(number), last(tokens - 1) {
    const int begin = 2 * tile * S::kTime;
    mixed = begin <= last && last <= begin + 2 * S::kTime - 2;
    first = begin < last;
  }
  // Whether this direction adds its sum of the token of the tile to that of the other direction. In a shared tile it is
  // the backward direction.
  __device__ __forceinline__ bool finishes(int token, bool backward) const {
    const int other = (last - tile * S::kTime - token) / S::kTime;
    return other < tile || (other == tile && backward);
  }
};

// The thread's sums of row i: over the states, plus the skip term.
template <class Element, class S>
__device__ __forceinline__ void row_sums(float (&sums)[S::kWidth], const Shared<S>& shared,
                                         const Run<Element, S::kWidth>& u, const float (&D)[S::kWidth],
                                         const Part<S>& part, int i) {
  load_floats(sums, shared.y[part.first + i * S::kLanes][part.unit]);
#pragma unroll
  for (int c = 0; c < S::kWidth; ++c) sums[c] = fmaf(D[c], get(u, c), sums[c]);
}

// The output's row: the sums of both directions, scaled and gated.
template <class Element, int kWidth>
__device__ __forceinline__ void gate_row(Run<Element, kWidth>& y, const float (&sums)[kWidth],
                                         const float (&partial)[kWidth], const Run<Element, kWidth>& z, float scale) {
  clear(y);
#pragma unroll
  for (int c = 0; c < kWidth; ++c) {
    put_bits(y, c, Element::from_float((sums[c] + partial[c]) * scale * silu(get(z, c))));
  }
}

// Stores the sums of a tile, all of whose tokens and channels exist and are finished by the other direction.
template <class Element, class S>
__device__ __forceinline__ void store_whole_sums(const Shared<S>& shared, const Rows<Element, S>& u,
                                                 const float (&D)[S::kWidth], float* sums_at,
                                                 int step, const Part<S>& part) {
#pragma unroll
  for (int i = 0; i < S::kRows; ++i) {
    float sums[S::kWidth];
    row_sums<Element>(sums, shared, u.row[i], D, part, i);
    store_floats(sums_at + std::int64_t{i} * step, sums);
  }
}

// Finishes such a tile: adds the other direction's sums, applies the gate and stores the output.
template <class Element, class S>
__device__ __forceinline__ void store_whole_outputs(const Shared<S>& shared, const Rows<Element, S>& u,
                                                    const Rows<Element, S>& z, const float (&D)[S::kWidth],
                                                    float scale, float* sums_at,
                                                    typename Element::Bits* to, int step,
                                                    const Part<S>& part) {
  float partial[S::kRows][S::kWidth];
#pragma unroll
  for (int i = 0; i < S::kRows; ++i) load_floats(partial[i], sums_at + std::int64_t{i} * step);
#pragma unroll
  for (int i = 0; i < S::kRows; ++i) {
    float sums[S::kWidth];
    row_sums<Element>(sums, shared, u.row[i], D, part, i);
    Run<Element, S::kWidth> y;
    gate_row(y, sums, partial[i], z.row[i], scale);
    store_wide(y, to + std::int64_t{i} * step);
  }
}

// For any tile: stores the sums of the rows that the other direction finishes.
template <class Element, class S>
__device__ __forceinline__ void store_some_sums(const Shared<S>& shared, const Rows<Element, S>& u,
                                                const float (&D)[S::kWidth], float* sums_at,
                                                int step, const Part<S>& part, int left, const Meeting<S>& meeting,
                                                bool backward) {
#pragma unroll
  for (int i = 0; i < S::kRows; ++i) {
    if (!part.has(i, left) || meeting.finishes(part.first + i * S::kLanes, backward)) continue;
    float sums[S::kWidth];
    row_sums<Element>(sums, shared, u.row[i], D, part, i);
#pragma unroll
    for (int c = 0; c < S::kWidth; ++c) {
      if (c < part.count) sums_at[std::int64_t{i} * step + c] = sums[c];
    }
  }
}

// For any tile: finishes the other rows.
template <class Element, class S>
__device__ __forceinline__ void store_some_outputs(const Shared<S>& shared, const Rows<Element, S>& u,
                                                   const Rows<Element, S>& z, const float (&D)[S::kWidth],
                                                   float scale, float* sums_at,
                                                   typename Element::Bits* to, int step,
                                                   const Part<S>& part, int left, const Meeting<S>& meeting,
                                                   bool backward) {
#pragma unroll
  for (int i = 0; i < S::kRows; ++i) {
    if (!part.has(i, left) || !meeting.finishes(part.first + i * S::kLanes, backward)) continue;
    float sums[S::kWidth], partial[S::kWidth];
#pragma unroll
    for (int c = 0; c < S::kWidth; ++c) {
      partial[c] = c < part.count ? sums_at[std::int64_t{i} * step + c] : 0.0f;
    }
    row_sums<Element>(sums, shared, u.row[i], D, part, i);
    Run<Element, S::kWidth> y;
    gate_row(y, sums, partial, z.row[i], scale);
    store_some(y, to + std::int64_t{i} * step, part.count);
  }
}

// Scans one chunk of one batch element for the block's channels in both directions. With kOutput, it starts from the
// carried-in states and writes y; without, it starts from zero and writes only the summaries.
template <bool kOutput, class Element, class S>
__device__ __forceinline__ void pair_block(const PairKernelArguments& arguments, char* memory_of_block) {
  const CudaScanPair& scan = arguments.scan;
  const int backward = static_cast<int>(threadIdx.x) / S::kThreads;
  const int thread = static_cast<int>(threadIdx.x) % S::kThreads;
  const CudaScanPair::Direction& direction = scan.directions[backward];
  const int rank = arguments.rank;
  const PairMemory<S> memory(memory_of_block, rank, backward);
  Shared<S>& shared = *memory.tile;
  const Place place = pair_place(arguments, blockIdx.x, backward != 0, S::kChannels);
  const Part<S> part(place, scan.channels, thread);
  PairInputs<kOutput, Element, S> inputs(scan, direction, place, part, thread);
  const int z_step = row_step<S>(place, 2 * scan.channels);
  // The positions in y and in xz follow from the one in the sums, which saves registers.
  Cursor<float> sums_cursor = row_cursor(arguments.sums, scan.channels, place, part, part.channel);

  PairLoaded<Element, S> loaded;
  inputs.load(loaded, arguments, part, thread, place.tokens);
  for (int i = thread; i < rank * S::kChannels; i += S::kThreads) {
    const int channel = place.first_channel + i % S::kChannels, row = i / S::kChannels;
    const bool exists = channel < scan.channels && row < scan.rank;
    memory.weights[i] = exists ? direction.delta_weight[row * scan.channels + channel] : 0.0f;
  }
  stage_projected_steps<Element, S>(memory, loaded.steps, rank, thread);
  for (int i = thread; i < S::kChannels; i += S::kThreads) {
    const bool exists = place.first_channel + i < scan.channels;
    memory.delta_bias[i] = exists ? direction.delta_bias[place.first_channel + i] : 0.0f;
    memory.D[i] = exists ? direction.D[place.first_channel + i] : 0.0f;
  }
  const int lane = S::lane_of(thread);
  const int channel = place.first_channel + S::unit_of(thread) * S::kWidth;
  States<S> states;
  start_states(states, direction.A, 1, scan.channels, channel, scan.channels, static_cast<int>(scan.state), lane);
  const Summaries<S> summaries(arguments.summaries[backward], scan.batch, scan.channels, arguments.chunks, place);
  if constexpr (kOutput) carry_in(states, summaries, place.chunk, channel, lane);
  __syncthreads();

#pragma unroll 1
  for (int tile = 0; tile * S::kTime < place.tokens; ++tile) {
    const int left = place.tokens - tile * S::kTime;
    const Meeting<S> meeting(tile, place.tokens);
    float x[S::kRows][S::kWidth];
    project_steps(x, memory, rank, part);
    stage_steps(shared, x, loaded.u, scan.delta_softplus, part, left);
    stage_projection<Element, S>(shared.B, loaded.B, thread);
    if constexpr (kOutput) stage_projection<Element, S>(shared.C, loaded.C, thread);
    const Rows<Element, S> u = loaded.u;
    Rows<Element, S> z;
    __syncthreads();
    // The gate of this tile and the next tile are loaded during the recurrence.
    if constexpr (kOutput) {
      if (meeting.mixed || !meeting.first) {
        const std::int64_t at = 2 * (sums_cursor.at - arguments.sums) + scan.channels - part.channel;
        load_rows<Element>(z, elements<Element>(scan.xz) + at, z_step, arguments.wide_rows, part, left);
      }
    }
    inputs.load(loaded, arguments, part, thread, left - S::kTime);
    scan_tile<kOutput>(states, shared, thread, token_groups<S>(left));
    stage_projected_steps<Element, S>(memory, loaded.steps, rank, thread);
    __syncthreads();
    if constexpr (kOutput) {
      const int step = inputs.row_elements;
      float D[S::kWidth];
      load_floats(D, memory.D + part.unit * S::kWidth);
      auto* y = static_cast<typename Element::Bits*>(scan.y) + (sums_cursor.at - arguments.sums);
      if (meeting.mixed || !arguments.wide_rows || !part.whole || left < S::kTime) {
        store_some_sums(shared, u, D, sums_cursor.at, step, part, left, meeting, backward != 0);
        if (meeting.mixed) __syncthreads();
        store_some_outputs(shared, u, z, D, scan.scale, sums_cursor.at, y, step, part, left, meeting,
                           backward != 0);
      } else if (meeting.first) {
        store_whole_sums(shared, u, D, sums_cursor.at, step, part);
      } else {
        store_whole_outputs(shared, u, z, D, scan.scale, sums_cursor.at, y, step, part);
      }
      sums_cursor.advance();
    }
  }
  if constexpr (!kOutput) {
    if (place.chunk + 1 < arguments.chunks) write_summary(states, summaries, place.chunk, channel, lane);
  }
}

}  // namespace vim_fused
