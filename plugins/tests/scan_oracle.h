// The contract in float64, and inputs for it, for tests of the CUDA scan.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

namespace scan_oracle {

struct Problem {
  std::int64_t batch, length, channels, state;
  bool delta_softplus, reverse;
  std::vector<double> u, delta, A, B, C, D, z, delta_bias;  // laid out as in the contract
};

inline std::vector<double> draw(std::mt19937& random, std::int64_t count, double low, double high) {
  std::uniform_real_distribution<double> range(low, high);
  std::vector<double> values(static_cast<std::size_t>(count));
  // Through float32, which holds every value of the narrower types.
  for (double& value : values) value = static_cast<float>(range(random));
  return values;
}

// Time steps and decays such that the state remembers a few tokens in some channels and hundreds in others.
inline Problem make_problem(std::int64_t batch, std::int64_t length, std::int64_t channels, std::int64_t state,
                            bool delta_softplus, bool reverse, unsigned seed) {
  std::mt19937 random(seed);
  Problem p{batch, length, channels, state, delta_softplus, reverse, {}, {}, {}, {}, {}, {}, {}, {}};
  const std::int64_t tokens = batch * length;
  p.u = draw(random, tokens * channels, -2, 2);
  p.delta = delta_softplus ? draw(random, tokens * channels, -4, 1) : draw(random, tokens * channels, 0.01, 0.5);
  p.A = draw(random, channels * state, -3, -0.01);
  p.B = draw(random, tokens * state, -1, 1);
  p.C = draw(random, tokens * state, -1, 1);
  p.D = draw(random, channels, -1, 1);
  p.z = draw(random, tokens * channels, -3, 3);
  p.delta_bias = delta_softplus ? draw(random, channels, -2, 1) : draw(random, channels, 0, 0.1);
  return p;
}

// Softplus far beyond both ends, decays that vanish at once and decays that never end.
inline void make_extreme(Problem& p, unsigned seed) {
  std::mt19937 random(seed);
  p.delta = draw(random, static_cast<std::int64_t>(p.delta.size()), -60, 40);
  p.A = draw(random, static_cast<std::int64_t>(p.A.size()), -9, 4);
  for (double& value : p.A) value = static_cast<float>(-std::pow(10.0, value));
  p.z = draw(random, static_cast<std::int64_t>(p.z.size()), -120, 120);
}

inline std::vector<double> solve(const Problem& p) {
  std::vector<double> y(p.u.size());
  std::vector<double> h(static_cast<std::size_t>(p.state));
  for (std::int64_t b = 0; b < p.batch; ++b) {
    for (std::int64_t d = 0; d < p.channels; ++d) {
      h.assign(h.size(), 0.0);
      for (std::int64_t i = 0; i < p.length; ++i) {
        const std::int64_t row = b * p.length + (p.reverse ? p.length - 1 - i : i);
        const std::size_t at = static_cast<std::size_t>(row * p.channels + d);
        double dt = p.delta[at] + p.delta_bias[static_cast<std::size_t>(d)];
        if (p.delta_softplus && dt <= 20) dt = std::log1p(std::exp(dt));
        double sum = p.D[static_cast<std::size_t>(d)] * p.u[at];
        for (std::int64_t n = 0; n < p.state; ++n) {
          const std::size_t projection = static_cast<std::size_t>(row * p.state + n);
          const double kept = std::exp(dt * p.A[static_cast<std::size_t>(d * p.state + n)]);
          double& state = h[static_cast<std::size_t>(n)];
          state = kept * state + dt * p.B[projection] * p.u[at];
          sum += p.C[projection] * state;
        }
        y[at] = sum * p.z[at] / (1 + std::exp(-p.z[at]));
      }
    }
  }
  return y;
}

}  // namespace scan_oracle
