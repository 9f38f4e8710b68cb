// The CUDA scan of one direction: the work of one thread block.
#pragma once

#include "scan_cuda_tile.cuh"

namespace vim_scan {

// The thread's row i of the output: sum over the states plus skip term, times the gate if there is one.
template <bool kGated, class Element, class S>
__device__ __forceinline__ void finish_row(Run<Element, S::kWidth>& y, const Shared<S>& shared,
                                           const Run<Element, S::kWidth>& u, const Run<Element, S::kWidth>& z,
                                           const float (&D)[S::kWidth], const Part<S>& part, int i) {
  float sums[S::kWidth];
  load_floats(sums, shared.y[part.first + i * S::kLanes][part.unit]);
  clear(y);
#pragma unroll
  for (int c = 0; c < S::kWidth; ++c) {
    float value = fmaf(D[c], get(u, c), sums[c]);
    if constexpr (kGated) value *= silu(get(z, c));
    put_bits(y, c, Element::from_float(value));
  }
}

// Stores the thread's part of a tile of which `left` tokens exist.
template <bool kGated, class Element, class S>
__device__ __forceinline__ void store_tile(const Shared<S>& shared, const Rows<Element, S>& u,
                                           const Rows<Element, S>& z, const float (&D)[S::kWidth],
                                           const Cursor<typename Element::Bits>& cursor, int step, bool wide,
                                           const Part<S>& part, int left) {
  Run<Element, S::kWidth> y;
  if (wide && part.whole && left >= S::kTime) {
#pragma unroll
    for (int i = 0; i < S::kRows; ++i) {
      finish_row<kGated, Element>(y, shared, u.row[i], z.row[i], D, part, i);
      store_wide(y, cursor.at + std::int64_t{i} * step);
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < S::kRows; ++i) {
    if (!part.has(i, left)) continue;
    finish_row<kGated, Element>(y, shared, u.row[i], z.row[i], D, part, i);
    store_some(y, cursor.at + std::int64_t{i} * step, part.count);
  }
}

// One thread's part of a tile, as loaded from memory.
template <class Element, class S>
struct Loaded {
  Rows<Element, S> u, delta;
  Run<Element, S::kProjectionRun> B, C;
};

// The positions from which a thread loads the tiles of the recurrence.
template <bool kOutput, class Element, class S>
struct Inputs {
  Input<Element> u, delta, B, C;
  int step;
  int token, states;  // of the run of B and C: its token within the tile, and the states from there on that exist

  __device__ __forceinline__ Inputs(const CudaArguments& scan, const Place& place, const Part<S>& part, int thread)
      : u(row_cursor(elements<Element>(scan.u), scan.channels, place, part, part.channel)),
        delta(row_cursor(elements<Element>(scan.delta), scan.channels, place, part, part.channel)),
        B(elements<Element>(scan.B), scan.groups * scan.state, place, S::kTime,
          thread * S::kProjectionRun / S::kPadded, first_state(scan, place, thread)),
        C(elements<Element>(scan.C), scan.groups * scan.state, place, S::kTime,
          thread * S::kProjectionRun / S::kPadded, first_state(scan, place, thread)),
        step(row_step<S>(place, scan.channels)), token(thread * S::kProjectionRun / S::kPadded),
        states(static_cast<int>(scan.state) - thread * S::kProjectionRun % S::kPadded) {}

  // The element of a row of B and C that the thread's run starts with.
  static __device__ __forceinline__ int first_state(const CudaArguments& scan, const Place& place, int thread) {
    return static_cast<int>(place.group) * static_cast<int>(scan.state) + thread * S::kProjectionRun % S::kPadded;
  }

  // Starts loading a tile of which `left` tokens exist, and advances.
  __device__ __forceinline__ void load(Loaded<Element, S>& loaded, const KernelArguments& arguments,
                                       const Part<S>& part, int left) {
    load_rows<Element>(loaded.u, u.at, step, arguments.wide_rows, part, left);
    load_rows<Element>(loaded.delta, delta.at, step, arguments.wide_rows, part, left);
    const int count = token < left ? states : 0;
    load_run(loaded.B, B.at, arguments.wide_projections, count);
    if constexpr (kOutput) load_run(loaded.C, C.at, arguments.wide_projections, count);
    u.advance(), delta.advance(), B.advance(), C.advance();
  }
};

// Scans one chunk of one batch element for the block's channels. With kOutput, it starts from the carried-in state and
// writes y; without, it starts from zero and writes only the summary.
template <bool kOutput, class Element, class S>
__device__ __forceinline__ void scan_block(const KernelArguments& arguments, Shared<S>& shared) {
  const CudaArguments& scan = arguments.scan;
  const int thread = static_cast<int>(threadIdx.x);
  const Place place = find_place(arguments, blockIdx.x, scan.reverse, S::kChannels);
  const Part<S> part(place, place.end_channel, thread);
  const bool gated = scan.z != nullptr;
  Inputs<kOutput, Element, S> inputs(scan, place, part, thread);
  auto y_cursor =
      row_cursor(static_cast<typename Element::Bits*>(scan.y), scan.channels, place, part, part.channel);
  Loaded<Element, S> loaded;
  inputs.load(loaded, arguments, part, place.tokens);
  float delta_bias[S::kWidth], D[S::kWidth];
  load_constants(delta_bias, scan.delta_bias, part);
  load_constants(D, scan.D, part);
  const int lane = S::lane_of(thread);
  const int channel = place.first_channel + S::unit_of(thread) * S::kWidth;
  States<S> states;
  start_states(states, scan.A, scan.state, 1, channel, place.end_channel, static_cast<int>(scan.state), lane);
  if constexpr (kOutput) {
    const Summaries<S> summaries(scan.workspace, scan.batch, scan.channels, arguments.chunks, place);
    carry_in(states, summaries, place.chunk, channel, lane);
  }

#pragma unroll 1
  for (int left = place.tokens; left > 0; left -= S::kTime) {
    float x[S::kRows][S::kWidth];
#pragma unroll
    for (int i = 0; i < S::kRows; ++i) {
#pragma unroll
      for (int c = 0; c < S::kWidth; ++c) x[i][c] = get(loaded.delta.row[i], c) + delta_bias[c];
    }
    stage_steps(shared, x, loaded.u, scan.delta_softplus, part, left);
    stage_projection<Element, S>(shared.B, loaded.B, thread);
    if constexpr (kOutput) stage_projection<Element, S>(shared.C, loaded.C, thread);
    const Rows<Element, S> u = loaded.u;
    Rows<Element, S> z;
    __syncthreads();
    // The gate of this tile and the next tile are loaded during the recurrence.
    if (kOutput && gated) {
      // z has the shape of y.
      const auto offset = y_cursor.at - static_cast<const typename Element::Bits*>(scan.y);
      load_rows<Element>(z, elements<Element>(scan.z) + offset, inputs.step, arguments.wide_rows, part, left);
    }
    inputs.load(loaded, arguments, part, left - S::kTime);
    scan_tile<kOutput>(states, shared, thread, token_groups<S>(left));
    __syncthreads();
    if constexpr (kOutput) {
      if (gated) {
        store_tile<true>(shared, u, z, D, y_cursor, inputs.step, arguments.wide_rows, part, left);
      } else {
        store_tile<false>(shared, u, z, D, y_cursor, inputs.step, arguments.wide_rows, part, left);
      }
      y_cursor.advance();
    }
  }
  if constexpr (!kOutput) {
    // Computed again, so that these values do not occupy registers during the loop.
    std::uint32_t block = blockIdx.x;
    asm volatile("" : "+r"(block));
    const Place again = find_place(arguments, block, scan.reverse, S::kChannels);
    const Summaries<S> summaries(scan.workspace, scan.batch, scan.channels, arguments.chunks, again);
    write_summary(states, summaries, again.chunk, again.first_channel + S::unit_of(thread) * S::kWidth, lane);
  }
}

}  // namespace vim_scan
