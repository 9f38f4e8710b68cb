// Inputs for tests of the CUDA scan, in the layout of the contract. The float64 oracle is that of the CPU kernel.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "scan_test.h"

namespace cuda_test {

using Values = std::vector<float>;  // float32 represents all values of float16 and bfloat16

struct Problem {
  std::int64_t batch, length, channels, state;
  bool delta_softplus, reverse;
  Values u, delta, A, B, C, D, z, delta_bias;
  std::int32_t groups = 1;
  bool gated = true;

  std::vector<double> solve() const {
    vim_scan::Arguments dense{};
    dense.batch = batch, dense.length = length, dense.channels = channels, dense.state = state;
    dense.delta_softplus = delta_softplus, dense.reverse = reverse;
    dense.u = u.data(), dense.delta = delta.data(), dense.A = A.data(), dense.B = B.data(), dense.C = C.data();
    dense.D = D.data(), dense.z = gated ? z.data() : nullptr, dense.delta_bias = delta_bias.data();
    dense.u_pitch = dense.delta_pitch = dense.z_pitch = dense.y_pitch = channels;
    dense.groups = groups;
    dense.B_pitch = dense.C_pitch = groups * state;
    return vim_test::oracle(dense);
  }
};

inline Values draw(std::mt19937& random, std::int64_t count, float low, float high) {
  std::uniform_real_distribution<float> range(low, high);
  Values values(static_cast<std::size_t>(count));
  for (float& value : values) value = range(random);
  return values;
}

// Time steps and decays with which the state remembers a few tokens in some channels and hundreds in others.
inline Problem make_problem(std::int64_t batch, std::int64_t length, std::int64_t channels, std::int64_t state,
                            bool delta_softplus, bool reverse, unsigned seed, std::int32_t groups = 1) {
  std::mt19937 random(seed);
  Problem p{batch, length, channels, state, delta_softplus, reverse, {}, {}, {}, {}, {}, {}, {}, {}, groups};
  const std::int64_t tokens = batch * length;
  p.u = draw(random, tokens * channels, -2, 2);
  p.delta = delta_softplus ? draw(random, tokens * channels, -4, 1) : draw(random, tokens * channels, 0.01f, 0.5f);
  p.A = draw(random, channels * state, -3, -0.01f);
  p.B = draw(random, tokens * groups * state, -1, 1);
  p.C = draw(random, tokens * groups * state, -1, 1);
  p.D = draw(random, channels, -1, 1);
  p.z = draw(random, tokens * channels, -3, 3);
  p.delta_bias = delta_softplus ? draw(random, channels, -2, 1) : draw(random, channels, 0, 0.1f);
  return p;
}

// Extreme arguments of softplus, and decays close to 0 and to 1.
inline void make_extreme(Problem& p, unsigned seed) {
  std::mt19937 random(seed);
  p.delta = draw(random, static_cast<std::int64_t>(p.delta.size()), -60, 40);
  p.A = draw(random, static_cast<std::int64_t>(p.A.size()), -9, 4);
  for (float& value : p.A) value = -std::pow(10.0f, value);
  p.z = draw(random, static_cast<std::int64_t>(p.z.size()), -120, 120);
}

}  // namespace cuda_test
