// Matmuls with int8 weights, for the same vectors as matmul.h; included like lanes.h, with the same restrictions. Each row of
// the input is rounded to int8 with a scale of its own. Accumulation is exact, in int32, so that the integers are the same
// on every CPU.
#pragma once

#include "fused_tasks.h"
#include "lanes.h"
#include "matmul.h"

namespace vim_fused {
namespace {

using std::int32_t;
using std::int8_t;
using std::uint8_t;

constexpr float kInt8Most = 127.0f;
constexpr float kSmallest = 1e-36f;  // rows with no larger value count as 0: the inverse of their scale would overflow

// Rounds a row, times its smoothing factors, to integers from -127 to 127: `store(index, integers, count)` is called for
// each vector. Returns the scale: value = integer * scale. It is not finite if one of the values is not.
template <class M, class Store>
float quantize_row(const float* x, const float* smoothing, int64_t size, const Store& store) {
  using Float = typename M::Float;
  using Int = typename M::Int;
  const auto value = [&](int64_t at, int lanes, auto full) {
    const Float loaded = vim_scan::load_lanes<M, full.value>(x + at, lanes);
    if (smoothing == nullptr) return loaded;
    return loaded * vim_scan::load_lanes<M, full.value>(smoothing + at, lanes);
  };
  // As integers, the bits of magnitudes have the same order, and NaN is the largest.
  Int largest_bits = {};
  vim_scan::for_vectors<M>(size, [&](int64_t at, int lanes, auto full) {
    const Int magnitude = M::bits(M::magnitude(value(at, lanes, full)));
    largest_bits = magnitude > largest_bits ? magnitude : largest_bits;
  });
  int32_t most = 0;
  for (int lane = 0; lane < M::width; ++lane) most = largest_bits[lane] > most ? largest_bits[lane] : most;
  float largest;
  __builtin_memcpy(&largest, &most, sizeof largest);
  const Float inverse = M::splat(largest <= kSmallest ? 0.0f : kInt8Most / largest);
  vim_scan::for_vectors<M>(size, [&](int64_t at, int lanes, auto full) {
    store(at, M::nearest(value(at, lanes, full) * inverse), lanes);
  });
  return largest <= kSmallest ? 0.0f : largest / kInt8Most;
}

// The policy for CPUs without dot product instructions: sign-extend bytes to 16 bits, then multiply pairs and add them to
// 32-bit sums. This is exact.
template <class M>
struct Int8Pairs {
  using Lanes = M;
  using Int = typename M::Int;
  struct Input {  // four neighbors along the depth, as the weights are unpacked
    int32_t even, odd;
  };
  static constexpr int vectors = M::registers == 32 || M::width == 16 ? 3 : 2;  // columns of a tile, in vectors
  static constexpr int rows = M::registers == 32 ? 8 : 6;
  static constexpr bool offset = false;  // whether sums start with the offsets of the columns
  struct Weight {
    typename M::Halves even, odd;
  };

  static Weight load(const int32_t* from) {
    typename M::Halves both;
    __builtin_memcpy(&both, from, sizeof both);
    return {both << 8 >> 8, both >> 8};
  }
  static Int multiply_add(Int sum, const Input& x, const Weight& w) {
    const Int zero = {};
    const auto even = reinterpret_cast<typename M::Halves>(zero + x.even);
    const auto odd = reinterpret_cast<typename M::Halves>(zero + x.odd);
    return sum + M::multiply_pairs(even, w.even) + M::multiply_pairs(odd, w.odd);
  }
  static float prepare(const float* x, const float* smoothing, int64_t size, Input* to) {
    const auto halves = reinterpret_cast<std::int16_t*>(to);
    const int64_t steps = blocks(size, kInt8Depth);
    for (int64_t k = size; k < steps * kInt8Depth; ++k) halves[k] = 0;
    const float scale = quantize_row<M>(x, smoothing, size, [&](int64_t at, Int integers, int count) {
      const Shorts narrow = __builtin_convertvector(integers, Shorts);
      __builtin_memcpy(halves + at, &narrow, static_cast<std::size_t>(count) * sizeof(std::int16_t));
    });
    // Of four neighbors, `even` has the first and the third.
    for (int64_t step = 0; step < steps; ++step) {
      std::int16_t* four = halves + step * kInt8Depth;
      const std::int16_t second = four[1];
      four[1] = four[2];
      four[2] = second;
    }
    return scale;
  }

 private:
  typedef std::int16_t Shorts __attribute__((vector_size(M::width * sizeof(std::int16_t))));
};

// The policy for instructions that add the dot product of four unsigned and four signed bytes to each lane: 128 is added
// to the inputs, and the columns' offsets are -128 times the sums of their weights. D: the instruction.
template <class D>
struct Int8Dot {
  using Lanes = typename D::Lanes;
  using Int = typename Lanes::Int;
  using Input = int32_t;
  using Weight = Int;
  static constexpr int vectors = 3;
  static constexpr int rows = Lanes::registers == 32 ? 8 : 4;
  static constexpr bool offset = true;
  typedef uint8_t Bytes __attribute__((vector_size(Lanes::width)));

  static Weight load(const int32_t* from) {
    Weight weight;
    __builtin_memcpy(&weight, from, sizeof weight);
    return weight;
  }
  static Int multiply_add(Int sum, Input x, Weight w) { return D::multiply_add(sum, Int{} + x, w); }
  static float prepare(const float* x, const float* smoothing, int64_t size, Input* to) {
    const auto bytes = reinterpret_cast<uint8_t*>(to);
    for (int64_t k = size; k < blocks(size, kInt8Depth) * kInt8Depth; ++k) bytes[k] = 0;  // any; the weights are 0
    return quantize_row<Lanes>(x, smoothing, size, [&](int64_t at, Int integers, int count) {
      const Bytes shifted = __builtin_convertvector(integers + 128, Bytes);
      __builtin_memcpy(bytes + at, &shifted, static_cast<std::size_t>(count));
    });
  }
};

// A tile's columns in a panel, whose rows are `pitch` lanes apart.
struct Int8Panel {
  const int32_t* offsets;
  const float* scales;
  const int32_t* weights;
  int64_t pitch;
};

// `Rows` rows by `Vectors` vectors of columns, of which `columns` exist.
template <class Q, int Rows, int Vectors>
void int8_tile(const typename Q::Input* input, const float* row_scales, const Int8Panel& panel, int64_t steps,
               const Output& output, int64_t columns) {
  using M = typename Q::Lanes;
  using Int = typename M::Int;
  using Float = typename M::Float;
  Int sum[Rows][Vectors];
#pragma GCC unroll 8
  for (int row = 0; row < Rows; ++row)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      sum[row][v] = Int{};
      if (Q::offset) __builtin_memcpy(&sum[row][v], panel.offsets + v * M::width, sizeof(Int));
    }
  const int32_t* weights = panel.weights;
  for (int64_t step = 0; step < steps; ++step, weights += panel.pitch) {
    typename Q::Weight w[Vectors];
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) w[v] = Q::load(weights + v * M::width);
#pragma GCC unroll 8
    for (int row = 0; row < Rows; ++row)
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v)
        sum[row][v] = Q::multiply_add(sum[row][v], input[row * steps + step], w[v]);
  }
#pragma GCC unroll 8
  for (int row = 0; row < Rows; ++row)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      const Float scale = M::load(panel.scales + v * M::width) * row_scales[row];
      Float y = __builtin_convertvector(sum[row][v], Float) * scale;
      // Opaque: the compiler may fuse this multiplication with an addition to y in some tiles and not in others, so that
      // results would depend on the number of rows.
      asm("" : "+m"(y));
      const int64_t remaining = columns - v * M::width;
      const Output to = output.at(row, v * M::width);
      if (remaining >= M::width)
        store_output<M, true>(to, y, M::width);
      else if (remaining > 0)
        store_output<M, false>(to, y, static_cast<int>(remaining));
    }
}

// The last tile of the columns is as narrow as possible: a wider one would read beyond the panel.
template <class Q, int Rows, int Vectors>
void int8_vectors(const typename Q::Input* input, const float* row_scales, const Int8Panel& panel, int64_t steps,
                  const Output& output, int64_t columns) {
  if constexpr (Vectors > 1)
    if (columns <= (Vectors - 1) * Q::Lanes::width)
      return int8_vectors<Q, Rows, Vectors - 1>(input, row_scales, panel, steps, output, columns);
  int8_tile<Q, Rows, Vectors>(input, row_scales, panel, steps, output, columns);
}

template <class Q, int Rows>
void int8_rows(int count, const typename Q::Input* input, const float* row_scales, const Int8Panel& panel,
               int64_t steps, const Output& output, int64_t columns) {
  if (count == Rows)
    int8_vectors<Q, Rows, Q::vectors>(input, row_scales, panel, steps, output, columns);
  else if constexpr (Rows > 1)
    int8_rows<Q, Rows - 1>(count, input, row_scales, panel, steps, output, columns);
}

// output = x @ weights for `count` rows of `x`, `pitch` floats apart, at most kMatmulRows. `buffer`: memory for the
// rounded inputs.
template <class Q>
void matmul_int8(const float* x, int64_t pitch, int64_t count, const Weights& weights, const Output& output,
                 float* buffer) {
  const int64_t steps = blocks(weights.depth, kInt8Depth);
  auto* input = reinterpret_cast<typename Q::Input*>(buffer);
  float row_scales[kMatmulRows];
  for (int64_t row = 0; row < count; ++row)
    row_scales[row] = Q::prepare(x + row * pitch, weights.smoothing, weights.depth, input + row * steps);
  const int64_t groups = blocks(count, Q::rows);
  constexpr int64_t tile = Q::vectors * Q::Lanes::width;
  static_assert(kPanel % tile == 0 && kPanelMultiple % Q::Lanes::width == 0, "");
  for (int64_t column = 0; column < weights.columns; column += tile) {
    const int64_t place = column % kPanel, first = column - place, width = panel_width(weights.columns - first);
    const auto* offsets = static_cast<const int32_t*>(weights.panels) + first * (kInt8Rows + steps) + place;
    const Int8Panel panel = {offsets, reinterpret_cast<const float*>(offsets + width), offsets + kInt8Rows * width,
                             width};
    for (int64_t group = 0; group < groups; ++group) {
      const int64_t from = count * group / groups, to = count * (group + 1) / groups;
      int8_rows<Q, Q::rows>(static_cast<int>(to - from), input + from * steps, row_scales + from, panel, steps,
                            output.at(from, column), weights.columns - column);
    }
  }
}

}  // namespace
}  // namespace vim_fused
