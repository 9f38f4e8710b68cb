// The kernels' text, for vectors of any width; included once by each instruction set's file, with the cautions of
// lanes.h. The lanes of a vector are neighbouring channels.
#pragma once

#include "fused_tasks.h"
#include "lanes.h"
#include "scan_kernel.h"

namespace vim_fused {
namespace {

using std::int64_t;
using vim_scan::load_lanes;
using vim_scan::store_lanes;

template <bool Value>
struct Constant {
  static constexpr bool value = Value;
};

// Calls work(channel, lanes, full) for vector after vector of a row; `full.value` is a compile-time constant.
template <class M, class Work>
void for_vectors(int64_t channels, const Work& work) {
  int64_t channel = 0;
  for (; channel + M::width <= channels; channel += M::width) work(channel, M::width, Constant<true>());
  if (channel < channels) work(channel, static_cast<int>(channels - channel), Constant<false>());
}

template <class M>
void normalise_row(const Norm& norm, int64_t row) {
  using Float = typename M::Float;
  const float* x = norm.x + row * norm.size;
  const float* residual = norm.residual ? norm.residual + row * norm.size : nullptr;
  float* sum = norm.sum ? norm.sum + row * norm.size : nullptr;
  float* y = norm.y + row * norm.size;
  Float squares = {};
  for_vectors<M>(norm.size, [&](int64_t at, int lanes, auto full) {
    Float value = load_lanes<M, full.value>(x + at, lanes);
    if (residual != nullptr) {
      value = value + load_lanes<M, full.value>(residual + at, lanes);
      store_lanes<M, full.value>(sum + at, value, lanes);
    }
    squares = value * value + squares;
  });
  float total = 0.0f;
  for (int lane = 0; lane < M::width; ++lane) total += squares[lane];
  const float root = __builtin_sqrtf(total / static_cast<float>(norm.size) + norm.epsilon);
  const Float factor = M::splat(1.0f / root);
  const float* values = sum != nullptr ? sum : x;
  for_vectors<M>(norm.size, [&](int64_t at, int lanes, auto full) {
    const Float value = load_lanes<M, full.value>(values + at, lanes);
    const Float weight = load_lanes<M, full.value>(norm.weight + at, lanes);
    store_lanes<M, full.value>(y + at, value * factor * weight, lanes);
  });
}

template <class M>
void norm_tasks(const Norm& norm, int64_t first, int64_t last) {
  const int64_t end = last * kNormRows < norm.rows ? last * kNormRows : norm.rows;
  for (int64_t row = first * kNormRows; row < end; ++row) normalise_row<M>(norm, row);
}

// One token of one direction: the taps first .. last-1, the others lying outside the sequence. `x` is the row
// under tap 0. Taps > 0: all of that many taps.
template <class M, int Taps>
void convolve_row(const ConvPair& conv, const ConvPair::Direction& direction, const float* x, float* u, int64_t first,
                  int64_t last) {
  using Float = typename M::Float;
  const int64_t begin = Taps > 0 ? 0 : first, end = Taps > 0 ? Taps : last;
  for_vectors<M>(conv.channels, [&](int64_t at, int lanes, auto full) {
    Float sum = load_lanes<M, full.value>(direction.bias + at, lanes);
    for (int64_t tap = begin; tap < end; ++tap)
      sum = load_lanes<M, full.value>(x + tap * conv.x_pitch + at, lanes) *
                load_lanes<M, full.value>(direction.taps + tap * conv.channels + at, lanes) +
            sum;
    const Float gate = M::splat(1.0f) + vim_scan::exponential<M>(-sum);
    store_lanes<M, full.value>(u + at, sum / gate, lanes);
  });
}

template <class M>
void convolve_token(const ConvPair& conv, int index, int64_t element_row, int64_t token) {
  const ConvPair::Direction& direction = conv.directions[index];
  const int64_t under_tap_0 = index == 0 ? token - (conv.width - 1) : token;
  const int64_t first = under_tap_0 < 0 ? -under_tap_0 : 0;
  const int64_t reach = conv.length - under_tap_0;
  const int64_t last = reach < conv.width ? reach : conv.width;
  const float* x = conv.x + (element_row + under_tap_0) * conv.x_pitch;
  float* u = direction.u + (element_row + token) * conv.channels;
  if (conv.width == 4 && first == 0 && last == 4)
    convolve_row<M, 4>(conv, direction, x, u, first, last);
  else
    convolve_row<M, 0>(conv, direction, x, u, first, last);
}

template <class M>
void conv_tasks(const ConvPair& conv, int64_t first, int64_t last) {
  const int64_t per_element = blocks(conv.length, kConvTokens);
  for (int64_t task = first; task < last; ++task) {
    const int64_t element_row = task / per_element * conv.length;
    const int64_t from = task % per_element * kConvTokens;
    const int64_t to = from + kConvTokens < conv.length ? from + kConvTokens : conv.length;
    for (int64_t token = from; token < to; ++token)
      for (int index = 0; index < 2; ++index) convolve_token<M>(conv, index, element_row, token);
  }
}

vim_scan::Pass pass_of(const ScanPair& scan, int index) {
  const ScanPair::Direction& direction = scan.directions[index];
  const bool last = index == 1;
  vim_scan::Arguments arguments = {};
  arguments.batch = scan.batch;
  arguments.length = scan.length;
  arguments.channels = scan.channels;
  arguments.state = scan.state;
  arguments.delta_softplus = scan.delta_softplus;
  arguments.reverse = index;
  arguments.u = direction.u;
  arguments.delta = direction.projection;
  arguments.A = direction.A;
  arguments.B = direction.projection + scan.rank;
  arguments.C = direction.projection + scan.rank + scan.state;
  arguments.D = direction.D;
  arguments.z = last ? scan.z : nullptr;  // both directions are gated alike, so their sum is
  arguments.delta_bias = direction.delta_bias;
  arguments.y = scan.y;
  arguments.u_pitch = arguments.y_pitch = scan.channels;
  arguments.delta_pitch = arguments.B_pitch = arguments.C_pitch = scan.rank + 2 * scan.state;
  arguments.z_pitch = scan.z_pitch;
  vim_scan::Pass pass(arguments);
  pass.A_channel_step = 1;
  pass.A_state_step = scan.channels;
  pass.delta_weight = direction.delta_weight;
  pass.rank = scan.rank;
  pass.accumulate = last;
  pass.scale = scan.scale;
  return pass;
}

template <class M>
void scan_tasks(const ScanPair& scan, int64_t first, int64_t last) {
  const vim_scan::Pass forwards = pass_of(scan, 0), backwards = pass_of(scan, 1);
  for (int64_t task = first; task < last; ++task) {
    vim_scan::sweep<M>(forwards, task);
    vim_scan::sweep<M>(backwards, task);
  }
}

template <class M>
constexpr Kernels kernels_of(const char* name) {
  return {name, norm_tasks<M>, conv_tasks<M>, scan_tasks<M>};
}

}  // namespace
}  // namespace vim_fused
