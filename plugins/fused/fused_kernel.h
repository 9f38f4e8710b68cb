// The kernels, for vectors of any width; included once by each instruction set's file, with the restrictions of
// lanes.h. The lanes of a vector are neighboring channels.
#pragma once

#include "fused_tasks.h"
#include "lanes.h"
#include "matmul.h"
#include "matmul_int8.h"
#include "scan_kernel.h"

namespace vim_fused {
namespace {

using std::int64_t;
using vim_scan::for_vectors;
using vim_scan::load_lanes;
using vim_scan::store_lanes;

template <class M>
void normalize_row(const Norm& norm, int64_t row) {
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
  for (int64_t row = first * kNormRows; row < end; ++row) normalize_row<M>(norm, row);
}

// One token of one direction, from `channel` on: only the taps inside the sequence.
template <class M>
void convolve_token(const ConvPair& conv, int index, int64_t element_row, int64_t token, int64_t channel) {
  using Float = typename M::Float;
  const ConvPair::Direction& direction = conv.directions[index];
  const int64_t first_tapped = index == 0 ? token - (conv.width - 1) : token;
  const int64_t first = first_tapped < 0 ? -first_tapped : 0;
  const int64_t reach = conv.length - first_tapped;
  const int64_t last = reach < conv.width ? reach : conv.width;
  const float* x = conv.x + (element_row + first_tapped) * conv.x_pitch + channel;
  const float* taps = direction.taps + channel;
  float* u = direction.u + (element_row + token) * conv.channels + channel;
  for_vectors<M>(conv.channels - channel, [&](int64_t at, int lanes, auto full) {
    Float sum = load_lanes<M, full.value>(direction.bias + channel + at, lanes);
    for (int64_t tap = first; tap < last; ++tap)
      sum = load_lanes<M, full.value>(x + tap * conv.x_pitch + at, lanes) *
                load_lanes<M, full.value>(taps + tap * conv.channels + at, lanes) +
            sum;
    store_lanes<M, full.value>(u + at, vim_scan::silu<M>(sum, M::splat(1.0f)), lanes);
  });
}

// Four taps, one vector of channels, both directions: each x is loaded once and used for seven outputs. Outside the
// sequence it is 0.
template <class M>
void convolve_four(const ConvPair& conv, int64_t element_row, int64_t from, int64_t to, int64_t channel) {
  using Float = typename M::Float;
  constexpr int width = 4, around = 2 * width - 1;
  const float* x = conv.x + element_row * conv.x_pitch + channel;
  const auto at = [&](int64_t token) {
    return token < 0 || token >= conv.length ? Float{} : M::load(x + token * conv.x_pitch);
  };
  Float taps[2][width], bias[2], window[around];  // tokens t-3 .. t+3
  for (int index = 0; index < 2; ++index) {
    bias[index] = M::load(conv.directions[index].bias + channel);
    for (int tap = 0; tap < width; ++tap)
      taps[index][tap] = M::load(conv.directions[index].taps + tap * conv.channels + channel);
  }
  for (int i = 1; i < around; ++i) window[i] = at(from - width + i);
  for (int64_t token = from; token < to; ++token) {
    for (int i = 1; i < around; ++i) window[i - 1] = window[i];
    window[around - 1] = at(token + width - 1);
    for (int index = 0; index < 2; ++index) {
      Float sum = bias[index];
      for (int tap = 0; tap < width; ++tap) sum = window[index * (width - 1) + tap] * taps[index][tap] + sum;
      float* u = conv.directions[index].u + (element_row + token) * conv.channels + channel;
      M::store(u, vim_scan::silu<M>(sum, M::splat(1.0f)));
    }
  }
}

template <class M>
void convolve_tokens(const ConvPair& conv, int64_t element_row, int64_t from, int64_t to) {
  int64_t channel = 0;
  if (conv.width == 4)
    for (; channel + M::width <= conv.channels; channel += M::width)
      convolve_four<M>(conv, element_row, from, to, channel);
  if (channel == conv.channels) return;
  for (int64_t token = from; token < to; ++token)
    for (int index = 0; index < 2; ++index) convolve_token<M>(conv, index, element_row, token, channel);
}

template <class M>
void conv_tasks(const ConvPair& conv, int64_t first, int64_t last) {
  const int64_t per_element = blocks(conv.length, kConvTokens);
  for (int64_t task = first; task < last; ++task) {
    const int64_t from = task % per_element * kConvTokens;
    const int64_t to = from + kConvTokens < conv.length ? from + kConvTokens : conv.length;
    convolve_tokens<M>(conv, task / per_element * conv.length, from, to);
  }
}

struct Scratch {
  alignas(64) float inputs[kScratchFloats];  // in the weights' type
  alignas(64) float normalized[kScratchFloats];
};

// The policies for the matmuls of an instruction set, by the type of the weights.
template <class M, class H, class Q>
struct Policies {
  using Lanes = M;
  using ForFloat32 = Float32<M>;
  using ForBFloat16 = H;
  using ForInt8 = Q;
};

// x @ weights in the arithmetic of the weights' type.
template <class P>
void project(const float* x, int64_t pitch, int64_t rows, const Weights& weights, const Output& output,
             Scratch& scratch) {
  if (weights.type == WeightType::kInt8)
    matmul_int8<typename P::ForInt8>(x, pitch, rows, weights, output, scratch.inputs);
  else if (weights.type == WeightType::kBFloat16)
    matmul<typename P::ForBFloat16>(x, pitch, rows, weights, output, scratch.inputs);
  else
    matmul<typename P::ForFloat32>(x, pitch, rows, weights, output, scratch.inputs);
}

// Copies a patch to a row.
template <class M>
void copy_patch(const Patches& patches, const float* images, int64_t index, float* row) {
  const int64_t down = patches.height / patches.patch_height, across = patches.width / patches.patch_width;
  const int64_t image = index / (down * across), y = index / across % down, x = index % across;
  const float* corner = images + image * patches.channels * patches.height * patches.width +
                        y * patches.patch_height * patches.width + x * patches.patch_width;
  for (int64_t channel = 0; channel < patches.channels; ++channel)
    for (int64_t line = 0; line < patches.patch_height; ++line, row += patches.patch_width) {
      const float* from = corner + (channel * patches.height + line) * patches.width;
      for_vectors<M>(patches.patch_width, [&](int64_t at, int lanes, auto full) {
        store_lanes<M, full.value>(row + at, load_lanes<M, full.value>(from + at, lanes), lanes);
      });
    }
}

template <class P>
void project_tasks(const Project& problem, int64_t first, int64_t last) {
  Scratch scratch;
  float* patches = scratch.normalized;  // unused here otherwise
  const int64_t tasks = task_count(problem), depth = problem.weights.depth, columns = problem.weights.columns;
  for (int64_t task = first; task < last; ++task) {
    const int64_t from = problem.rows * task / tasks, to = problem.rows * (task + 1) / tasks;
    if (problem.patches != nullptr)
      for (int64_t row = from; row < to; ++row)
        copy_patch<typename P::Lanes>(*problem.patches, problem.x, row, patches + (row - from) * depth);
    const float* x = problem.patches != nullptr ? patches : problem.x + from * depth;
    const Output y = {problem.y + from * columns, columns, nullptr};
    project<P>(x, depth, to - from, problem.weights, y, scratch);
  }
}

template <class P>
void norm_project_tasks(const NormProject& problem, int64_t first, int64_t last) {
  Scratch scratch;
  const int64_t tasks = task_count(problem), depth = problem.before.depth, columns = problem.after.columns;
  for (int64_t task = first; task < last; ++task) {
    const int64_t from = problem.rows * task / tasks, rows = problem.rows * (task + 1) / tasks - from;
    const int64_t at = from * problem.size;
    Norm norm = {rows, problem.size, problem.epsilon, problem.x + at, nullptr, problem.weight, scratch.normalized,
                 nullptr};
    if (problem.before.panels != nullptr) {
      const Output sum = {problem.sum + at, problem.size, problem.residual + at};
      project<P>(problem.x + from * depth, depth, rows, problem.before, sum, scratch);
      norm.x = sum.y;
    }
    for (int64_t row = 0; row < rows; ++row) normalize_row<typename P::Lanes>(norm, row);
    const Output y = {problem.y + from * columns, columns, nullptr};
    project<P>(scratch.normalized, problem.size, rows, problem.after, y, scratch);
  }
}

template <class P>
void conv_project_tasks(const ConvProject& problem, int64_t first, int64_t last) {
  Scratch scratch;
  const ConvPair& conv = problem.conv;
  const int64_t per_element = task_count(problem) / conv.batch;
  for (int64_t task = first; task < last; ++task) {
    const int64_t part = task % per_element, element_row = task / per_element * conv.length;
    const int64_t from = conv.length * part / per_element, to = conv.length * (part + 1) / per_element;
    if (problem.directions[0].weights.type == WeightType::kFloat32)
      convolve_tokens<typename P::Lanes>(conv, element_row, from, to);
    else
      convolve_tokens<typename P::Lanes::Reduced>(conv, element_row, from, to);
    for (int index = 0; index < 2; ++index) {
      const Weights& weights = problem.directions[index].weights;
      float* projection = problem.directions[index].projection + (element_row + from) * weights.columns;
      const float* u = conv.directions[index].u + (element_row + from) * conv.channels;
      project<P>(u, conv.channels, to - from, weights, {projection, weights.columns, nullptr}, scratch);
    }
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
  arguments.z = last ? scan.z : nullptr;  // the gate is the same for both directions: it is applied to the sum
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

template <class M, class T>
void sweep_both(const ScanPair& scan, int64_t first, int64_t last) {
  const vim_scan::Pass forward = pass_of(scan, 0), backward = pass_of(scan, 1);
  for (int64_t task = first; task < last; ++task) {
    vim_scan::sweep<M, T>(forward, task);
    vim_scan::sweep<M, T>(backward, task);
  }
}

template <class M, class S>
void scan_tasks(const ScanPair& scan, int64_t first, int64_t last) {
  if (scan.reduced)
    sweep_both<typename M::Reduced, vim_scan::Projected<S, kMaxReducedRank>>(scan, first, last);
  else
    sweep_both<M, vim_scan::Projected<Float32<M>, 1>>(scan, first, last);  // uses no memory for inputs
}

// H, Q: the policies for matmuls in bfloat16 and int8; S: for the scan's time steps in bfloat16, one row at a time.
template <class M, class H = BFloat16<M>, class Q = Int8Pairs<M>, class S = H>
constexpr Kernels kernels_of(const char* name) {
  using P = Policies<M, H, Q>;
  return {name,
          norm_tasks<M>,
          conv_tasks<M>,
          scan_tasks<M, S>,
          project_tasks<P>,
          norm_project_tasks<P>,
          conv_project_tasks<P>};
}

}  // namespace
}  // namespace vim_fused
