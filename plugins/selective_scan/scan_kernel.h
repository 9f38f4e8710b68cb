// The kernel's text, for vectors of any width. Each instruction set's file includes it once and compiles it
// with that set's flags, so everything here has internal linkage: a copy that the linker could share would
// run wide instructions on a processor without them. For the same reason no standard header with inline
// functions is included.
//
// The lanes of a vector are neighbouring channels, so there are no horizontal sums. A chunk of tokens goes
// through three passes over small buffers: time steps (softplus), recurrence, gate. The recurrence thus holds
// nothing but the recurrence, and only the outer passes know of pitches and of channels that fill no vector.
#pragma once

#include <cstddef>
#include <cstdint>

#include "scan.h"
#include "scan_tasks.h"

namespace vim_scan {
namespace {

using std::int32_t;
using std::int64_t;

constexpr int kChunk = 32;       // tokens; the buffers of a chunk stay in the nearest cache
constexpr int kGroup = 16;       // states carried at once; more are done in groups, adding up in y
constexpr int kTogether = 2;     // states whose exponentials are computed side by side
constexpr float kLog2E = 1.44269504f;
constexpr float kTame = 126.0f;  // exponents of 2 up to this size need no clamping

// Arithmetic on W lanes. An instruction set's `Self` derives from it and replaces what it has instructions for.
template <int W, class Self>
struct Lanes {
  static constexpr int width = W;
  typedef float Float __attribute__((vector_size(W * sizeof(float))));
  typedef int32_t Int __attribute__((vector_size(W * sizeof(int32_t))));

  static Float load(const float* from) {
    Float x;
    __builtin_memcpy(&x, from, sizeof x);
    return x;
  }
  static void store(float* to, Float x) { __builtin_memcpy(to, &x, sizeof x); }
  static Float splat(float x) { return x - Float{}; }
  static Int bits(Float x) { return reinterpret_cast<Int>(x); }
  static Float from_bits(Int x) { return reinterpret_cast<Float>(x); }

  // Where one of the two is a NaN, the second is taken.
  static Float larger(Float x, Float y) { return x > y ? x : y; }
  static Float smaller(Float x, Float y) { return x < y ? x : y; }
  // A NaN in x stays.
  static Float at_least(Float x, float low) { return Self::larger(splat(low), x); }
  static Float at_most(Float x, float high) { return Self::smaller(splat(high), x); }
  static Float magnitude(Float x) { return from_bits(bits(x) & 0x7fffffff); }

  // 2^x as p * 2^i, i the integer nearest to x. Adding kShift leaves i + 127 in the lowest bits of the sum,
  // which moved up 23 places are the float 2^i: 0 for i = -127, infinity for i = 128, where x is clamped.
  static constexpr float kShift = 12582912.0f + 127.0f;  // 1.5 * 2^23 + bias
  static Float power_of_two(Float shifted) { return from_bits(bits(shifted) << 23); }

  // 2^f for |f| <= 0.5: 1 + f*ln2 + ..., relative error 1.1e-7 plus rounding. The first two coefficients are
  // exact, so that 2^0 = 1 and a long memory (f near 0, thousands of tokens) decays at the right rate.
  template <int K>
  static void fraction_power(Float (&f)[K]) {
    Float p[K];
    for (int k = 0; k < K; ++k) p[k] = splat(1.330026425e-3f) * f[k] + splat(9.669709019e-3f);
    for (int k = 0; k < K; ++k) p[k] = p[k] * f[k] + splat(5.550559983e-2f);
    for (int k = 0; k < K; ++k) p[k] = p[k] * f[k] + splat(2.402228117e-1f);
    for (int k = 0; k < K; ++k) p[k] = p[k] * f[k] + splat(6.931471825e-1f);
    for (int k = 0; k < K; ++k) f[k] = p[k] * f[k] + splat(1.0f);
  }

  // 2^x for K vectors, written step by step so that their instructions alternate; 0 below -126.5, infinity
  // above 127.5. Without `Clamped` every |x| must be at most kTame or a NaN, and the result is the same.
  static constexpr bool clamps = true;
  template <bool Clamped, int K>
  static void exp2(Float (&x)[K]) {
    Float shifted[K], f[K];
    for (int k = 0; k < K; ++k) {
      if (Clamped) x[k] = at_most(at_least(x[k], -127.0f), 128.0f);
      shifted[k] = x[k] + splat(kShift);
    }
    for (int k = 0; k < K; ++k) f[k] = x[k] - (shifted[k] - splat(kShift));
    fraction_power(f);
    for (int k = 0; k < K; ++k) x[k] = f[k] * power_of_two(shifted[k]);
  }
};

// e^x with the argument reduced in two parts: a relative error near 2e-7 also where x is large and negative,
// which 2^(x * log2 e) has not. 0 below -87.6, infinity above 88.4.
template <class M>
typename M::Float exponential(typename M::Float x) {
  using Float = typename M::Float;
  x = M::at_most(M::at_least(x, -88.0f), 88.7f);
  const Float shifted = x * M::splat(kLog2E) + M::splat(M::kShift);
  const Float i = shifted - M::splat(M::kShift);
  // ln 2 = 0.693359375 - 2.12194440e-4; the first part has so few bits that its product with i is exact.
  const Float f = (x - i * M::splat(0.693359375f)) + i * M::splat(2.12194440e-4f);
  Float power[1] = {f * M::splat(kLog2E)};
  M::fraction_power(power);
  return power[0] * M::power_of_two(shifted);
}

// log(1 + e^x) = max(x, 0) + log1p(e), e = e^-|x|, and log1p(e) = 2 atanh(s), s = e / (2 + e) <= 1/3, whose
// odd series keeps the relative error of tiny time steps small. Above 17 the sum rounds to x by itself.
template <class M>
typename M::Float softplus(typename M::Float x) {
  using Float = typename M::Float;
  const Float e = exponential<M>(-M::magnitude(x));
  const Float s = e / (e + M::splat(2.0f));
  const Float q = s * s;
  Float p = M::splat(0.28011996f);
  p = p * q + M::splat(0.28001803f);
  p = p * q + M::splat(0.40021527f);
  p = p * q + M::splat(0.66666418f);
  p = p * q + M::splat(2.0f);
  return M::at_least(x, 0.0f) + p * s;
}

// One vector's channels over one chunk of tokens.
template <class M>
struct Chunk {
  alignas(64) float dt[kChunk * M::width];
  alignas(64) float dt_u[kChunk * M::width];
  alignas(64) float sum[kChunk * M::width];
  bool tame;  // every |dt * rate| is at most kTame, or a NaN, which needs no clamping either
};

// A task's states and decay rates, one group of states for each vector of channels.
template <class M>
struct Carry {
  static constexpr int vectors = kTaskChannels / M::width;
  alignas(64) float h[vectors][kGroup * M::width];
  alignas(64) float rate[vectors][kGroup * M::width];  // A * log2 e
  alignas(64) float steepest[vectors][M::width];       // the largest |rate|
  alignas(64) float skip[vectors][M::width];           // D
  alignas(64) float bias[vectors][M::width];           // delta_bias
};

// All the lanes of a vector, or the first `lanes` of them with 0 in the others.
template <class M, bool Full>
typename M::Float load_lanes(const float* from, int lanes) {
  if (Full) return M::load(from);
  alignas(64) float padded[M::width] = {};
  for (int lane = 0; lane < lanes; ++lane) padded[lane] = from[lane];
  return M::load(padded);
}

template <class M, bool Full>
void store_lanes(float* to, typename M::Float x, int lanes) {
  if (Full) return M::store(to, x);
  alignas(64) float padded[M::width];
  M::store(padded, x);
  for (int lane = 0; lane < lanes; ++lane) to[lane] = padded[lane];
}

// Row t of a tensor is at start + t * pitch; the pitch is negative when the scan runs backwards.
template <class T>
struct Rows {
  T* start;
  ptrdiff_t pitch;
  T* at(int64_t t) const { return start + t * pitch; }
};

// Where one batch element lies, its tokens in the order of the scan.
struct Sequence {
  Rows<const float> u, delta, B, C, z;  // z.start null: no gate
  Rows<float> y;
};

// A vector's place in the task: channels from the sequence's start, how many of its lanes are in use.
struct Slot {
  int64_t channel;
  int lanes;
};

// First pass: the time steps, what each token adds to the states, and what the sums over the states start
// from: D * u, or in later groups of states the sums so far, which are kept in y.
template <class M, bool Full>
void start(Chunk<M>& chunk, const Carry<M>& carry, int vector, const Sequence& rows, Slot slot, int64_t first,
           int tokens, bool with_softplus, bool first_group) {
  using Float = typename M::Float;
  const Float bias = M::load(carry.bias[vector]);
  const Float skip = M::load(carry.skip[vector]);
  Float longest = {};
  for (int t = 0; t < tokens; ++t) {
    Float dt = load_lanes<M, Full>(rows.delta.at(first + t) + slot.channel, slot.lanes) + bias;
    if (with_softplus) dt = softplus<M>(dt);
    longest = M::larger(longest, M::magnitude(dt));
    const Float u = load_lanes<M, Full>(rows.u.at(first + t) + slot.channel, slot.lanes);
    M::store(chunk.dt + t * M::width, dt);
    M::store(chunk.dt_u + t * M::width, dt * u);
    M::store(chunk.sum + t * M::width,
             first_group ? skip * u : load_lanes<M, Full>(rows.y.at(first + t) + slot.channel, slot.lanes));
  }
  chunk.tame = true;
  for (int lane = 0; lane < M::width; ++lane)
    chunk.tame = chunk.tame && longest[lane] * carry.steepest[vector][lane] <= kTame;
}

// Second pass.
template <class M, int States, bool Clamped>
void recurrence(Chunk<M>& chunk, const Sequence& rows, int64_t first, int tokens, int64_t first_state,
                const float* rate, float* state) {
  using Float = typename M::Float;
  constexpr int together = States < kTogether ? States : kTogether;
  Float h[States];
  for (int n = 0; n < States; ++n) h[n] = M::load(state + n * M::width);
  for (int t = 0; t < tokens; ++t) {
    const float* B = rows.B.at(first + t) + first_state;
    const float* C = rows.C.at(first + t) + first_state;
    const Float dt = M::load(chunk.dt + t * M::width);
    const Float dt_u = M::load(chunk.dt_u + t * M::width);
    Float even = M::load(chunk.sum + t * M::width);
    Float odd = Float{};
#pragma GCC unroll 16
    for (int n = 0; n < States; n += together) {
      Float decay[together];
      for (int k = 0; k < together; ++k) decay[k] = dt * M::load(rate + (n + k) * M::width);
      M::template exp2<Clamped>(decay);
      for (int k = 0; k < together; ++k) {
        h[n + k] = decay[k] * h[n + k] + dt_u * M::splat(B[n + k]);
        Float& sum = k % 2 == 0 ? even : odd;
        sum = h[n + k] * M::splat(C[n + k]) + sum;
      }
    }
    M::store(chunk.sum + t * M::width, even + odd);
  }
  for (int n = 0; n < States; ++n) M::store(state + n * M::width, h[n]);
}

// Last pass: the gate, once the last group of states is in.
template <class M, bool Full>
void finish(const Chunk<M>& chunk, const Sequence& rows, Slot slot, int64_t first, int tokens, bool last_group) {
  using Float = typename M::Float;
  const bool gated = last_group && rows.z.start != nullptr;
  for (int t = 0; t < tokens; ++t) {
    Float y = M::load(chunk.sum + t * M::width);
    if (gated) {
      const Float z = load_lanes<M, Full>(rows.z.at(first + t) + slot.channel, slot.lanes);
      y = y * (z / (exponential<M>(-z) + M::splat(1.0f)));
    }
    store_lanes<M, Full>(rows.y.at(first + t) + slot.channel, y, slot.lanes);
  }
}

// Lays the group's part of A, D and delta_bias out by lanes. Lanes out of use hold zeros.
template <class M>
void prepare(Carry<M>& carry, const Arguments& arguments, int vector, Slot slot, int64_t first_state, int states) {
  for (int lane = 0; lane < M::width; ++lane) {
    const bool used = lane < slot.lanes;
    const int64_t channel = slot.channel + lane;
    const float* A = arguments.A + channel * arguments.state + first_state;
    float steepest = 0.0f;
    for (int n = 0; n < states; ++n) {
      const float rate = used ? A[n] * kLog2E : 0.0f;
      const float size = rate < 0.0f ? -rate : rate;
      if (size > steepest) steepest = size;
      carry.rate[vector][n * M::width + lane] = rate;
      carry.h[vector][n * M::width + lane] = 0.0f;
    }
    carry.steepest[vector][lane] = steepest;
    carry.skip[vector][lane] = used && arguments.D ? arguments.D[channel] : 0.0f;
    carry.bias[vector][lane] = used && arguments.delta_bias ? arguments.delta_bias[channel] : 0.0f;
  }
}

template <class M, int States, bool Full>
void scan_chunk(Carry<M>& carry, Chunk<M>& chunk, const Arguments& arguments, const Sequence& rows, int vector,
                Slot slot, int64_t first, int tokens, int64_t first_state) {
  const bool first_group = first_state == 0;
  const bool last_group = first_state + States == arguments.state;
  start<M, Full>(chunk, carry, vector, rows, slot, first, tokens, arguments.delta_softplus != 0, first_group);
  const float* rate = carry.rate[vector];
  if (M::clamps && !chunk.tame)
    recurrence<M, States, M::clamps>(chunk, rows, first, tokens, first_state, rate, carry.h[vector]);
  else
    recurrence<M, States, false>(chunk, rows, first, tokens, first_state, rate, carry.h[vector]);
  finish<M, Full>(chunk, rows, slot, first, tokens, last_group);
}

// One task, one group of states: all tokens, chunk by chunk, each chunk through all vectors of channels, so
// that what the caches fetch of a row is used while it is there.
template <class M, int States>
void scan_group(const Arguments& arguments, const Sequence& rows, int64_t first_channel, int channels,
                int64_t first_state) {
  Carry<M> carry;
  Chunk<M> chunk;
  const int vectors = (channels + M::width - 1) / M::width;
  const auto slot_of = [&](int vector) {
    const int left = channels - vector * M::width;
    return Slot{first_channel + vector * M::width, left < M::width ? left : M::width};
  };
  for (int vector = 0; vector < vectors; ++vector)
    prepare<M>(carry, arguments, vector, slot_of(vector), first_state, States);

  for (int64_t first = 0; first < arguments.length; first += kChunk) {
    const int64_t left = arguments.length - first;
    const int tokens = left < kChunk ? static_cast<int>(left) : kChunk;
    for (int vector = 0; vector < vectors; ++vector) {
      const Slot slot = slot_of(vector);
      if (slot.lanes == M::width)
        scan_chunk<M, States, true>(carry, chunk, arguments, rows, vector, slot, first, tokens, first_state);
      else
        scan_chunk<M, States, false>(carry, chunk, arguments, rows, vector, slot, first, tokens, first_state);
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

template <class M>
void scan_task(const Arguments& arguments, int64_t task) {
  const int64_t blocks = channel_blocks(arguments.channels);
  const int64_t element = task / blocks;
  const int64_t first_channel = task % blocks * kTaskChannels;
  const int64_t left = arguments.channels - first_channel;
  const int channels = left < kTaskChannels ? static_cast<int>(left) : kTaskChannels;
  const Sequence rows = {
      rows_of(arguments.u, arguments.u_pitch, element, arguments),
      rows_of(arguments.delta, arguments.delta_pitch, element, arguments),
      rows_of(arguments.B, arguments.B_pitch, element, arguments),
      rows_of(arguments.C, arguments.C_pitch, element, arguments),
      rows_of(arguments.z, arguments.z_pitch, element, arguments),
      rows_of(arguments.y, arguments.y_pitch, element, arguments),
  };
  int64_t n = 0;
  for (; arguments.state - n >= 16; n += 16) scan_group<M, 16>(arguments, rows, first_channel, channels, n);
  const int64_t rest = arguments.state - n;
  if (rest & 8) scan_group<M, 8>(arguments, rows, first_channel, channels, n), n += 8;
  if (rest & 4) scan_group<M, 4>(arguments, rows, first_channel, channels, n), n += 4;
  if (rest & 2) scan_group<M, 2>(arguments, rows, first_channel, channels, n), n += 2;
  if (rest & 1) scan_group<M, 1>(arguments, rows, first_channel, channels, n);
}

template <class M>
void scan_tasks(const Arguments& arguments, int64_t first, int64_t last) {
  for (int64_t task = first; task < last; ++task) scan_task<M>(arguments, task);
}

}  // namespace
}  // namespace vim_scan
