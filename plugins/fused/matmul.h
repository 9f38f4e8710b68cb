// Matmuls of a few rows with packed weights, for vectors of up to kPanelMultiple lanes; included like lanes.h, with the
// same restrictions. Every output is summed in the order of the depth, independently of the other rows.
#pragma once

#include "fused_tasks.h"
#include "lanes.h"

namespace vim_fused {
namespace {

using std::int64_t;
using std::uint32_t;

constexpr int kTileVectors = 3;  // columns of a tile, in vectors; kPanel is a multiple of a tile

// Arithmetic policies. A step along the depth reads one `Input` for each block of `block_rows` input rows, and
// `panel_rows` rows of a panel of weights, `pitch` weights apart, each with `panel_depth` values along the depth for
// each column. `Sum`: the sums of a block of rows and one vector of columns; `rows`: rows of a tile, limited by the
// number of registers.

// One row in a block, one row of a panel in a step.
template <class M>
struct SingleRows {
  using Lanes = M;
  using Float = typename M::Float;
  using Sum = Float;
  static constexpr int block_rows = 1;
  static constexpr int panel_rows = 1;
  static Float row(Sum sum, int) { return sum; }
};

template <class M>
struct Float32 : SingleRows<M> {
  using Float = typename M::Float;
  using Input = float;
  using Weight = float;
  static constexpr int panel_depth = 1;
  static constexpr int rows = M::registers == 32 ? 8 : 4;

  template <bool>
  static Float load(const Weight* from, int64_t) {
    return M::load(from);
  }
  static Float broadcast(Input x) { return M::splat(x); }
  static Float multiply_add(Float sum, Float x, Float w) { return x * w + sum; }

  static const Input* prepare(const float* x, int64_t, int64_t, int64_t, float*) { return x; }
  static int64_t input_pitch(int64_t pitch, int64_t) { return pitch; }
};

// bfloat16 inputs and weights, two values per step. The arithmetic is float32, in which a product of two bfloat16 values
// is exact.
template <class M>
struct BFloat16 : SingleRows<M> {
  using Float = typename M::Float;
  using Int = typename M::Int;
  struct Input {
    float even, odd;
  };
  using Weight = uint32_t;  // the odd value in the upper half
  static constexpr int panel_depth = 2;
  static constexpr int rows = 4;
  struct Pair {
    Float even, odd;
  };

  template <bool>
  static Pair load(const Weight* from, int64_t) {
    Int both;
    __builtin_memcpy(&both, from, sizeof both);
    return {M::from_bits(both << 16), M::from_bits(both & static_cast<std::int32_t>(0xffff0000))};
  }
  static Pair broadcast(Input x) { return {M::splat(x.even), M::splat(x.odd)}; }
  static Float multiply_add(Float sum, Pair x, Pair w) { return x.even * w.even + (x.odd * w.odd + sum); }

  // To nearest, ties to even. Setting the quiet bit keeps a NaN from becoming infinite.
  static float round(float x) {
    uint32_t bits;
    __builtin_memcpy(&bits, &x, sizeof bits);
    bits = x != x ? bits | 0x00400000 : bits + 0x7fff + (bits >> 16 & 1);
    bits &= 0xffff0000;
    __builtin_memcpy(&x, &bits, sizeof x);
    return x;
  }
  static const Input* prepare(const float* x, int64_t pitch, int64_t count, int64_t size, float* buffer) {
    const int64_t padded = size + size % 2;
    for (int64_t row = 0; row < count; ++row) {
      float* to = buffer + row * padded;
      for (int64_t k = 0; k < size; ++k) to[k] = round(x[row * pitch + k]);
      if (padded > size) to[size] = 0.0f;
    }
    return reinterpret_cast<const Input*>(buffer);
  }
  static int64_t input_pitch(int64_t, int64_t size) { return blocks(size, panel_depth); }
};

// Output rows, `pitch` floats apart; `add`: rows of the same layout that are added, or null.
struct Output {
  float* y;
  int64_t pitch;
  const float* add;

  Output at(int64_t row, int64_t column) const {
    const int64_t offset = row * pitch + column;
    return {y + offset, pitch, add != nullptr ? add + offset : nullptr};
  }
};

template <class M, bool Full>
void store_output(const Output& output, typename M::Float y, int lanes) {
  if (output.add != nullptr) y = y + vim_scan::load_lanes<M, Full>(output.add, lanes);
  vim_scan::store_lanes<M, Full>(output.y, y, lanes);
}

// A tile's columns in a panel: `rows` rows, `pitch` weights apart. Passed by reference: copies made matmuls up to 3 %
// slower, because each tile waited for its copy.
template <class Weight>
struct Panel {
  const Weight* weights;
  int64_t rows;
  int64_t pitch;
};

// One step: `Whole` unless the panel has fewer rows left than a step reads.
template <class P, bool Whole, int Blocks, int Vectors>
void matmul_step(typename P::Sum (&sum)[Blocks][Vectors], const typename P::Input* input, int64_t input_pitch,
                 const typename P::Weight* weights, int64_t pitch) {
  decltype(P::template load<Whole>(weights, pitch)) w[Vectors];
#pragma GCC unroll 4
  for (int v = 0; v < Vectors; ++v) w[v] = P::template load<Whole>(weights + v * P::Lanes::width, pitch);
#pragma GCC unroll 8
  for (int block = 0; block < Blocks; ++block) {
    const auto x = P::broadcast(input[block * input_pitch]);
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) sum[block][v] = P::multiply_add(sum[block][v], x, w[v]);
  }
}

// `Blocks` blocks of rows by `Vectors` vectors of columns, of which `rows` and `columns` exist.
template <class P, int Blocks, int Vectors>
void matmul_tile(const typename P::Input* input, int64_t input_pitch, const Panel<typename P::Weight>& panel,
                 const Output& output, int64_t rows, int64_t columns) {
  using M = typename P::Lanes;
  typename P::Sum sum[Blocks][Vectors] = {};
  const typename P::Weight* weights = panel.weights;
  int64_t left = panel.rows;
  for (; left >= P::panel_rows; left -= P::panel_rows, weights += P::panel_rows * panel.pitch)
    matmul_step<P, true, Blocks, Vectors>(sum, input++, input_pitch, weights, panel.pitch);
  if (P::panel_rows > 1 && left > 0)
    matmul_step<P, false, Blocks, Vectors>(sum, input, input_pitch, weights, panel.pitch);
#pragma GCC unroll 8
  for (int row = 0; row < Blocks * P::block_rows; ++row) {
    if (P::block_rows > 1 && row >= rows) break;
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      const int64_t remaining = columns - v * M::width;
      const auto y = P::row(sum[row / P::block_rows][v], row % P::block_rows);
      const Output to = output.at(row, v * M::width);
      if (remaining >= M::width)
        store_output<M, true>(to, y, M::width);
      else if (remaining > 0)
        store_output<M, false>(to, y, static_cast<int>(remaining));
    }
  }
}

// The last tile of the columns is as narrow as possible: a wider one would read beyond the panel.
template <class P, int Blocks, int Vectors>
void matmul_vectors(const typename P::Input* input, int64_t input_pitch, const Panel<typename P::Weight>& panel,
                    const Output& output, int64_t rows, int64_t columns) {
  if constexpr (Vectors > 1)
    if (columns <= (Vectors - 1) * P::Lanes::width)
      return matmul_vectors<P, Blocks, Vectors - 1>(input, input_pitch, panel, output, rows, columns);
  matmul_tile<P, Blocks, Vectors>(input, input_pitch, panel, output, rows, columns);
}

template <class P, int Blocks>
void matmul_blocks(int64_t count, const typename P::Input* input, int64_t input_pitch,
                   const Panel<typename P::Weight>& panel, const Output& output, int64_t rows, int64_t columns) {
  if (count == Blocks)
    matmul_vectors<P, Blocks, kTileVectors>(input, input_pitch, panel, output, rows, columns);
  else if constexpr (Blocks > 1)
    matmul_blocks<P, Blocks - 1>(count, input, input_pitch, panel, output, rows, columns);
}

// output = x @ weights for `count` rows of `x`, `pitch` floats apart. `buffer`: memory for the inputs in P's type.
template <class P>
void matmul(const float* x, int64_t pitch, int64_t count, const Weights& weights, const Output& output,
            float* buffer) {
  using M = typename P::Lanes;
  const auto* input = P::prepare(x, pitch, count, weights.depth, buffer);
  const int64_t input_pitch = P::input_pitch(pitch, weights.depth);
  const auto* panels = static_cast<const typename P::Weight*>(weights.panels);
  const int64_t panel_rows = blocks(weights.depth, P::panel_depth);
  const int64_t row_blocks = blocks(count, P::block_rows);
  const int64_t groups = blocks(count, P::rows);  // of blocks, of similar size: tiles of few rows are slow
  constexpr int64_t tile = kTileVectors * M::width;
  static_assert(kPanel % tile == 0 && kPanelMultiple % M::width == 0, "");
  for (int64_t column = 0; column < weights.columns; column += tile) {
    const int64_t place = column % kPanel, first = column - place;
    const Panel<typename P::Weight> panel = {panels + first * panel_rows + place, panel_rows,
                                             panel_width(weights.columns - first)};
    for (int64_t group = 0; group < groups; ++group) {
      const int64_t from = row_blocks * group / groups, to = row_blocks * (group + 1) / groups;
      const int64_t row = from * P::block_rows;
      matmul_blocks<P, P::rows / P::block_rows>(to - from, input + from * input_pitch, input_pitch, panel,
                                                output.at(row, column), count - row, weights.columns - column);
    }
  }
}

}  // namespace
}  // namespace vim_fused
