// The kernel, for vectors of any width. Each instruction set's file includes it once, with the restrictions of lanes.h.
//
// The lanes of a vector are neighboring channels, so there are no horizontal sums. A chunk of tokens is processed in
// three passes over small buffers: time steps (softplus), recurrence, gate. Only the first and last pass handle pitches
// and partial vectors, so that the recurrence is a tight loop.
#pragma once

#include "lanes.h"
#include "scan.h"
#include "scan_tasks.h"

namespace vim_scan {
namespace {

constexpr int kChunk = 32;     // tokens; the buffers of a chunk fit into the L1 cache
constexpr int kGroup = 16;     // states in registers; more are processed in groups, which accumulate in y
constexpr int kProjected = 4;  // tokens whose time steps are projected interleaved

// One sweep over a sequence: the operator's arguments, and further ones of the fused operators.
struct Pass : Arguments {
  int64_t A_channel_step;              // floats from one channel to the next in A, and
  int64_t A_state_step = 1;            // from one state to the next
  const void* delta_weight = nullptr;  // see `Projected`
  int64_t rank = 0;
  bool accumulate = false;              // add to y, before the gate
  float scale = 1.0f;                   // of the gated output

  explicit Pass(const Arguments& arguments) : Arguments(arguments), A_channel_step(arguments.state) {}
};

// One vector's channels over one chunk of tokens.
template <class M>
struct Chunk {
  alignas(64) float dt[kChunk * M::width];
  alignas(64) float dt_u[kChunk * M::width];
  alignas(64) float sum[kChunk * M::width];
  bool safe;  // every |dt * rate| is at most safe_exponent, or a NaN, which needs no clamping either
};

// A task's states and decay rates, one group of states for each vector of channels.
template <class M>
struct Carry {
  static constexpr int vectors = kTaskChannels / M::width;
  alignas(64) float h[vectors][kGroup * M::width];
  alignas(64) float rate[vectors][kGroup * M::width];  // A * log2 e
  alignas(64) float max_rate[vectors][M::width];       // the largest |rate|
  alignas(64) float skip[vectors][M::width];           // D
  alignas(64) float bias[vectors][M::width];           // delta_bias
};

// Row t of a tensor is at start + t * pitch; the pitch is negative when the scan runs backwards.
template <class T>
struct Rows {
  T* start;
  ptrdiff_t pitch;
  T* at(int64_t t) const { return start + t * pitch; }
};

// The rows of one batch element, with tokens in the order of the scan.
struct Sequence {
  Rows<const float> u, delta, B, C, z;  // z.start null: no gate
  Rows<float> y;
};

// A vector's position: its first channel, and the number of lanes in use.
struct Slot {
  int64_t channel;
  int lanes;
};

// The source of a chunk's time steps before softplus. Here: the rows of delta.
struct Given {
  static constexpr int scratch_floats = 1;

  Given(const Pass&, const Sequence&, int64_t, int, float*) {}

  template <class M, bool Full>
  void compute(float* dt, typename M::Float bias, const Pass&, const Sequence& rows, Slot slot, int64_t first,
               int tokens) const {
    for (int t = 0; t < tokens; ++t)
      M::store(dt + t * M::width, load_lanes<M, Full>(rows.delta.at(first + t) + slot.channel, slot.lanes) + bias);
  }
};

// A matmul of the rows of delta, `rank` numbers each, with delta_weight, (rank, channels), in the arithmetic P of its
// type; P is a policy like those of ../fused/matmul.h. `Floats`: the memory for a row of inputs in P's type.
template <class P, int Floats>
struct Projected {
  static constexpr int scratch_floats = kChunk * Floats;

  const typename P::Input* inputs;
  int64_t pitch;

  Projected(const Pass& pass, const Sequence& rows, int64_t first, int tokens, float* scratch)
      : inputs(P::prepare(rows.delta.at(first), rows.delta.pitch, tokens, pass.rank, scratch)),
        pitch(P::input_pitch(rows.delta.pitch, pass.rank)) {}

  template <class M, bool Full>
  void compute(float* dt, typename M::Float bias, const Pass& pass, const Sequence&, Slot slot, int64_t,
               int tokens) const {
    int t = 0;
    for (; t + kProjected <= tokens; t += kProjected)
      project<M, Full, kProjected>(dt + t * M::width, bias, pass, slot, inputs + t * pitch);
    for (; t < tokens; ++t) project<M, Full, 1>(dt + t * M::width, bias, pass, slot, inputs + t * pitch);
  }

 private:
  using Weight = typename P::Weight;

  // Of `Tokens` tokens, for which the weights are loaded once.
  template <class M, bool Full, int Tokens>
  void project(float* dt, typename M::Float sum_before, const Pass& pass, Slot slot,
               const typename P::Input* input) const {
    typename M::Float sum[Tokens];
    for (int t = 0; t < Tokens; ++t) sum[t] = sum_before;
    const Weight* weight = static_cast<const Weight*>(pass.delta_weight) + slot.channel;
    const int64_t steps = (pass.rank + P::panel_depth - 1) / P::panel_depth;
    for (int64_t k = 0; k < steps; ++k, weight += pass.channels) {
      const auto w = weights<M, Full>(weight, slot.lanes);
      for (int t = 0; t < Tokens; ++t) sum[t] = P::multiply_add(sum[t], P::broadcast(input[t * pitch + k]), w);
    }
    for (int t = 0; t < Tokens; ++t) M::store(dt + t * M::width, sum[t]);
  }
  template <class M, bool Full>
  static auto weights(const Weight* from, int lanes) {
    if constexpr (Full) return P::template load<true>(from, M::width);
    alignas(64) Weight padded[M::width] = {};
    for (int lane = 0; lane < lanes; ++lane) padded[lane] = from[lane];
    return P::template load<true>(padded, M::width);
  }
};

// First pass: the time steps, the input of each token to the states, and the initial sums: D * u, plus the contents of
// y (the output of an earlier sweep, the sums over earlier groups of states, or both).
template <class M, bool Full, class T>
void start(Chunk<M>& chunk, const Carry<M>& carry, int vector, const Pass& pass, const Sequence& rows, const T& time_steps,
           Slot slot, int64_t first, int tokens, bool first_group) {
  using Float = typename M::Float;
  const Float skip = M::load(carry.skip[vector]);
  const bool add_to_y = pass.accumulate || !first_group;
  time_steps.template compute<M, Full>(chunk.dt, M::load(carry.bias[vector]), pass, rows, slot, first, tokens);
  // In a separate loop: dependency chains are half as long, so that the CPU overlaps twice as many tokens.
  if (pass.delta_softplus != 0)
    for (int t = 0; t < tokens; ++t)
      M::store(chunk.sum + t * M::width, M::exponential(-M::magnitude(M::load(chunk.dt + t * M::width))));
  Float max_dt = {};
  for (int t = 0; t < tokens; ++t) {
    Float dt = M::load(chunk.dt + t * M::width);
    if (pass.delta_softplus != 0) dt = softplus<M>(dt, M::load(chunk.sum + t * M::width));
    max_dt = M::larger(max_dt, M::magnitude(dt));
    const Float u = load_lanes<M, Full>(rows.u.at(first + t) + slot.channel, slot.lanes);
    M::store(chunk.dt + t * M::width, dt);
    M::store(chunk.dt_u + t * M::width, dt * u);
    Float sum = first_group ? skip * u : Float{};
    if (add_to_y) sum = sum + load_lanes<M, Full>(rows.y.at(first + t) + slot.channel, slot.lanes);
    M::store(chunk.sum + t * M::width, sum);
  }
  chunk.safe = true;
  for (int lane = 0; lane < M::width; ++lane)
    chunk.safe = chunk.safe && max_dt[lane] * carry.max_rate[vector][lane] <= M::safe_exponent;
}

// The rows of the next chunk, prefetched during the recurrence, which needs no memory. They are too far apart for
// hardware prefetching.
struct NextRows {
  static constexpr int tensors = 3;
  const float* start[tensors];
  ptrdiff_t pitch[tensors];

  NextRows(const Sequence& rows, int64_t channel, int64_t next) {
    const Rows<const float> y = {rows.y.start, rows.y.pitch};
    const Rows<const float> from[tensors] = {rows.u, y, rows.z.start ? rows.z : rows.u};
    for (int i = 0; i < tensors; ++i) start[i] = from[i].at(next) + channel, pitch[i] = from[i].pitch;
  }
  void fetch(int t) const {
    for (int i = 0; i < tensors; ++i) __builtin_prefetch(start[i] + t * pitch[i]);
  }
};

// States and sums of one token in the second pass. `h` is only indexed by constants: otherwise GCC would keep it in memory
// instead of registers.
template <class M, int States>
struct Token {
  using Float = typename M::Float;
  const float *rate, *B, *C;
  Float dt, dt_u, even, odd;

  // The states from First on.
  template <bool Clamped, int First>
  __attribute__((always_inline)) void update(Float (&h)[States]) {
    constexpr int interleaved = States < M::interleaved ? States : M::interleaved;
    static_assert(interleaved <= 4, "");
    if constexpr (First < States) {
      Float decay[interleaved];
      M::template decays<Clamped>(dt, rate + First * M::width, decay);
      update_one<First>(h[First], decay[0], even);
      if constexpr (interleaved > 1) update_one<First + 1>(h[First + 1], decay[1], odd);
      if constexpr (interleaved > 2) update_one<First + 2>(h[First + 2], decay[2], even);
      if constexpr (interleaved > 3) update_one<First + 3>(h[First + 3], decay[3], odd);
      update<Clamped, First + interleaved>(h);
    }
  }

 private:
  template <int N>
  __attribute__((always_inline)) void update_one(Float& state, Float decay, Float& sum) {
    state = decay * state + dt_u * M::splat(B[N]);
    sum = state * M::splat(C[N]) + sum;
  }
};

template <class M, int States, int First = 0>
__attribute__((always_inline)) inline void load_states(typename M::Float (&h)[States], const float* from) {
  if constexpr (First < States) {
    h[First] = M::load(from + First * M::width);
    load_states<M, States, First + 1>(h, from);
  }
}

template <class M, int States, int First = 0>
__attribute__((always_inline)) inline void store_states(float* to, typename M::Float (&h)[States]) {
  if constexpr (First < States) {
    M::store(to + First * M::width, h[First]);
    store_states<M, States, First + 1>(to, h);
  }
}

// Second pass.
template <class M, int States, bool Clamped>
void recurrence(Chunk<M>& chunk, const Sequence& rows, const NextRows& next_rows, int64_t first, int tokens,
                int64_t first_state, const float* rate, float* state) {
  using Float = typename M::Float;
  Float h[States];
  load_states<M>(h, state);
  for (int t = 0; t < tokens; ++t) {
    Token<M, States> token = {rate,
                              rows.B.at(first + t) + first_state,
                              rows.C.at(first + t) + first_state,
                              M::load(chunk.dt + t * M::width),
                              M::load(chunk.dt_u + t * M::width),
                              M::load(chunk.sum + t * M::width),
                              Float{}};
    next_rows.fetch(t);
    token.template update<Clamped, 0>(h);
    M::store(chunk.sum + t * M::width, token.even + token.odd);
  }
  store_states<M>(state, h);
}

// Last pass: the gate, after the last group of states.
template <class M, bool Full>
void finish(const Chunk<M>& chunk, const Pass& pass, const Sequence& rows, Slot slot, int64_t first, int tokens,
            bool last_group) {
  using Float = typename M::Float;
  const Float scale = M::splat(pass.scale);
  const bool gated = last_group && rows.z.start != nullptr;
  for (int t = 0; t < tokens; ++t) {
    Float y = M::load(chunk.sum + t * M::width);
    if (gated) {
      const Float z = load_lanes<M, Full>(rows.z.at(first + t) + slot.channel, slot.lanes);
      y = y * silu<M>(z, scale);
    }
    store_lanes<M, Full>(rows.y.at(first + t) + slot.channel, y, slot.lanes);
  }
}

// Arranges the group's part of A, D and delta_bias by lanes. Unused lanes are zero.
template <class M>
void prepare(Carry<M>& carry, const Pass& pass, int vector, Slot slot, int64_t first_state, int states) {
  for (int lane = 0; lane < M::width; ++lane) {
    const bool used = lane < slot.lanes;
    const int64_t channel = slot.channel + lane;
    const float* A = pass.A + channel * pass.A_channel_step + first_state * pass.A_state_step;
    float max_rate = 0.0f;
    for (int n = 0; n < states; ++n) {
      const float rate = used ? A[n * pass.A_state_step] * kLog2E : 0.0f;
      const float size = rate < 0.0f ? -rate : rate;
      if (size > max_rate) max_rate = size;
      carry.rate[vector][n * M::width + lane] = rate;
      carry.h[vector][n * M::width + lane] = 0.0f;
    }
    carry.max_rate[vector][lane] = max_rate;
    carry.skip[vector][lane] = used && pass.D ? pass.D[channel] : 0.0f;
    carry.bias[vector][lane] = used && pass.delta_bias ? pass.delta_bias[channel] : 0.0f;
  }
}

template <class M, int States, bool Full, class T>
void scan_chunk(Carry<M>& carry, Chunk<M>& chunk, const Pass& pass, const Sequence& rows, const T& time_steps, int vector,
                Slot slot, int64_t first, int tokens, int64_t first_state) {
  const bool last_group = first_state + States == pass.state;
  start<M, Full>(chunk, carry, vector, pass, rows, time_steps, slot, first, tokens, first_state == 0);
  const float* rate = carry.rate[vector];
  const NextRows next_rows(rows, slot.channel, first + tokens < pass.length ? first + tokens : 0);
  if (!chunk.safe)
    recurrence<M, States, true>(chunk, rows, next_rows, first, tokens, first_state, rate, carry.h[vector]);
  else
    recurrence<M, States, false>(chunk, rows, next_rows, first, tokens, first_state, rate, carry.h[vector]);
  finish<M, Full>(chunk, pass, rows, slot, first, tokens, last_group);
}

// One task, one group of states: all tokens, chunk by chunk, and for each chunk all vectors of channels, so that cache
// lines are used completely.
template <class M, class T, int States>
void scan_group(const Pass& pass, const Sequence& rows, int64_t first_channel, int channels, int64_t first_state) {
  alignas(64) float scratch[T::scratch_floats];
  Carry<M> carry;
  Chunk<M> chunk;
  const int vectors = (channels + M::width - 1) / M::width;
  const auto slot_of = [&](int vector) {
    const int left = channels - vector * M::width;
    return Slot{first_channel + vector * M::width, left < M::width ? left : M::width};
  };
  for (int vector = 0; vector < vectors; ++vector)
    prepare<M>(carry, pass, vector, slot_of(vector), first_state, States);

  for (int64_t first = 0; first < pass.length; first += kChunk) {
    const int64_t left = pass.length - first;
    const int tokens = left < kChunk ? static_cast<int>(left) : kChunk;
    const T time_steps(pass, rows, first, tokens, scratch);
    for (int vector = 0; vector < vectors; ++vector) {
      const Slot slot = slot_of(vector);
      if (slot.lanes == M::width)
        scan_chunk<M, States, true>(carry, chunk, pass, rows, time_steps, vector, slot, first, tokens, first_state);
      else
        scan_chunk<M, States, false>(carry, chunk, pass, rows, time_steps, vector, slot, first, tokens, first_state);
    }
  }
}

template <class T>
Rows<T> rows_of(T* tensor, int64_t pitch, int64_t element, const Arguments& arguments) {
  if (tensor == nullptr) return {nullptr, 0};
  T* start = tensor + element * arguments.length * pitch;
  if (arguments.reverse == 0) return {start, static_cast<ptrdiff_t>(pitch)};
  return {start + (arguments.length - 1) * pitch, static_cast<ptrdiff_t>(-pitch)};
}

// One sweep of a task's channels, all of one group, over its batch element. T: the source of the time steps.
template <class M, class T>
void sweep(const Pass& pass, int64_t task) {
  const int64_t group_channels = pass.channels / pass.groups;
  const int64_t blocks = channel_blocks(group_channels, pass.length);
  const int task_width = task_channels(pass.length);
  const int64_t element = task / (blocks * pass.groups);
  const int64_t group = task / blocks % pass.groups;
  const int64_t first_channel = group * group_channels + task % blocks * task_width;
  const int64_t left = (group + 1) * group_channels - first_channel;
  const int channels = left < task_width ? static_cast<int>(left) : task_width;
  const Sequence rows = {
      rows_of(pass.u, pass.u_pitch, element, pass), rows_of(pass.delta, pass.delta_pitch, element, pass),
      rows_of(pass.B + group * pass.state, pass.B_pitch, element, pass),
      rows_of(pass.C + group * pass.state, pass.C_pitch, element, pass),
      rows_of(pass.z, pass.z_pitch, element, pass), rows_of(pass.y, pass.y_pitch, element, pass),
  };
  int64_t n = 0;
  for (; pass.state - n >= 16; n += 16) scan_group<M, T, 16>(pass, rows, first_channel, channels, n);
  const int64_t rest = pass.state - n;
  if (rest & 8) scan_group<M, T, 8>(pass, rows, first_channel, channels, n), n += 8;
  if (rest & 4) scan_group<M, T, 4>(pass, rows, first_channel, channels, n), n += 4;
  if (rest & 2) scan_group<M, T, 2>(pass, rows, first_channel, channels, n), n += 2;
  if (rest & 1) scan_group<M, T, 1>(pass, rows, first_channel, channels, n);
}

template <class M>
void scan_tasks(const Arguments& arguments, int64_t first, int64_t last) {
  const Pass pass(arguments);
  for (int64_t task = first; task < last; ++task) sweep<M, Given>(pass, task);
}

}  // namespace
}  // namespace vim_scan
