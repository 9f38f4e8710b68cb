// Matrix products of a few rows with packed weights, for vectors of any width; included like lanes.h and with its
// cautions. A number of the result is summed up in the order of the depth, whatever rows are computed beside it.
#pragma once

#include "fused_tasks.h"
#include "lanes.h"

namespace vim_fused {
namespace {

using std::int64_t;
using std::uint32_t;

constexpr int kTileVectors = 3;  // columns of a tile, in vectors; a panel holds a whole number of them
constexpr int kWidestTile = 8;   // rows

// How factors are held and multiplied: `Left`, the numbers of the left factor that one step along the depth takes,
// `Right` likewise of one column of the weights; `rows` of a tile, as many as the registers can sum up.

template <class M>
struct Float32 {
  using Lanes = M;
  using Float = typename M::Float;
  using Left = float;
  using Right = float;
  static constexpr int depth = 1;
  static constexpr int rows = M::width == 16 ? 8 : 4;

  static Float load(const Right* from) { return M::load(from); }
  static Float spread(Left x) { return M::splat(x); }
  static Float add_product(Float sum, Float x, Float w) { return x * w + sum; }

  static const Left* left(const float* x, int64_t, int64_t, int64_t, float*) { return x; }
  static int64_t left_pitch(int64_t pitch, int64_t) { return pitch; }
};

// bfloat16 factors by float32 arithmetic, which is exact up to the sum: two numbers of the depth in one step.
template <class M>
struct Bfloat16 {
  using Lanes = M;
  using Float = typename M::Float;
  using Int = typename M::Int;
  struct Left {
    float even, odd;
  };
  using Right = uint32_t;  // the odd one in the upper half
  static constexpr int depth = 2;
  static constexpr int rows = 4;
  struct Pair {
    Float even, odd;
  };

  static Pair load(const Right* from) {
    Int both;
    __builtin_memcpy(&both, from, sizeof both);
    return {M::from_bits(both << 16), M::from_bits(both & static_cast<std::int32_t>(0xffff0000))};
  }
  static Pair spread(Left x) { return {M::splat(x.even), M::splat(x.odd)}; }
  static Float add_product(Float sum, Pair x, Pair w) { return x.even * w.even + (x.odd * w.odd + sum); }

  // To the nearest, ties to even; the quiet bit keeps a NaN from becoming infinite.
  static float round(float x) {
    uint32_t bits;
    __builtin_memcpy(&bits, &x, sizeof bits);
    bits = x != x ? bits | 0x00400000 : bits + 0x7fff + (bits >> 16 & 1);
    bits &= 0xffff0000;
    __builtin_memcpy(&x, &bits, sizeof x);
    return x;
  }
  static const Left* left(const float* x, int64_t pitch, int64_t count, int64_t size, float* buffer) {
    const int64_t padded = size + size % 2;
    for (int64_t row = 0; row < count; ++row) {
      float* to = buffer + row * padded;
      for (int64_t k = 0; k < size; ++k) to[k] = round(x[row * pitch + k]);
      if (padded > size) to[size] = 0.0f;
    }
    return reinterpret_cast<const Left*>(buffer);
  }
  static int64_t left_pitch(int64_t, int64_t size) { return blocks(size, depth); }
};

// Where a product goes: rows `pitch` floats apart; with `add` these rows are added, which lie alike.
struct Result {
  float* y;
  int64_t pitch;
  const float* add;
};

// `Rows` rows by the `kTileVectors` vectors of columns from `column` on, of which `columns` exist.
template <class P, int Rows>
void multiply_tile(const typename P::Left* left, int64_t left_pitch, const typename P::Right* right, int64_t steps,
                   const Result& result, int64_t columns) {
  using M = typename P::Lanes;
  using Float = typename M::Float;
  Float sum[Rows][kTileVectors] = {};
  for (int64_t step = 0; step < steps; ++step, right += kPanel) {
    decltype(P::load(right)) w[kTileVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kTileVectors; ++v) w[v] = P::load(right + v * M::width);
#pragma GCC unroll 8
    for (int row = 0; row < Rows; ++row) {
      const auto x = P::spread(left[row * left_pitch + step]);
#pragma GCC unroll 4
      for (int v = 0; v < kTileVectors; ++v) sum[row][v] = P::add_product(sum[row][v], x, w[v]);
    }
  }
#pragma GCC unroll 8
  for (int row = 0; row < Rows; ++row)
#pragma GCC unroll 4
    for (int v = 0; v < kTileVectors; ++v) {
      const int64_t at = row * result.pitch + v * M::width;
      const int64_t here = columns - v * M::width;
      if (here >= M::width) {
        if (result.add != nullptr) sum[row][v] = sum[row][v] + M::load(result.add + at);
        M::store(result.y + at, sum[row][v]);
      } else if (here > 0) {
        const int lanes = static_cast<int>(here);
        if (result.add != nullptr)
          sum[row][v] = sum[row][v] + vim_scan::load_lanes<M, false>(result.add + at, lanes);
        vim_scan::store_lanes<M, false>(result.y + at, sum[row][v], lanes);
      }
    }
}

template <class P, int Rows>
void multiply_rows(int count, const typename P::Left* left, int64_t left_pitch, const typename P::Right* right,
                   int64_t steps, const Result& result, int64_t columns) {
  if (count == Rows)
    multiply_tile<P, Rows>(left, left_pitch, right, steps, result, columns);
  else if constexpr (Rows > 1)
    multiply_rows<P, Rows - 1>(count, left, left_pitch, right, steps, result, columns);
}

// result = x @ weights for `count` rows of `x`, `pitch` floats apart. The buffer holds them as P wants them.
template <class P>
void multiply(const float* x, int64_t pitch, int64_t count, const Weights& weights, const Result& result,
              float* buffer) {
  using M = typename P::Lanes;
  const auto* left = P::left(x, pitch, count, weights.depth, buffer);
  const int64_t left_pitch = P::left_pitch(pitch, weights.depth);
  const int64_t steps = blocks(weights.depth, P::depth);
  const int64_t groups = blocks(count, P::rows);  // of rows, all nearly alike: a tile of few rows is slow
  constexpr int64_t tile = kTileVectors * M::width;
  for (int64_t column = 0; column < weights.columns; column += tile) {
    const auto* right = static_cast<const typename P::Right*>(weights.panels) +
                        column / kPanel * steps * kPanel + column % kPanel;
    for (int64_t group = 0; group < groups; ++group) {
      const int64_t from = count * group / groups, to = count * (group + 1) / groups;
      const int64_t at = from * result.pitch + column;
      const Result here = {result.y + at, result.pitch, result.add != nullptr ? result.add + at : nullptr};
      multiply_rows<P, P::rows>(static_cast<int>(to - from), left + from * left_pitch, left_pitch, right, steps, here,
                                weights.columns - column);
    }
  }
}

}  // namespace
}  // namespace vim_fused
