// Inputs for tests of ScanPair on GPUs: two problems of the scan, whose delta, B and C follow from projections.
#pragma once

#include "cuda_problem.h"

namespace cuda_test {

struct PairSizes {
  int batch, length, channels, state, rank;
  bool delta_softplus;
};

// The inputs of one direction, as for the scan without fusion, and the projection from which its delta is computed.
struct PairDirection {
  Problem scan;
  Values projection, delta_weight, A_by_state;
};

inline PairDirection make_direction(const PairSizes& s, bool reverse, unsigned seed) {
  PairDirection d;
  d.scan = make_problem(s.batch, s.length, s.channels, s.state, s.delta_softplus, reverse, seed);
  std::mt19937 random(seed + 100);
  const std::int64_t tokens = std::int64_t{s.batch} * s.length;
  const int pitch = s.rank + 2 * s.state;
  d.projection = draw(random, tokens * pitch, -1, 1);
  d.delta_weight = draw(random, std::int64_t{s.rank} * s.channels, s.delta_softplus ? -1.0f : 0.001f, 0.02f);
  if (!s.delta_softplus)
    for (std::int64_t t = 0; t < tokens; ++t)
      for (int r = 0; r < s.rank; ++r) {
        float& value = d.projection[t * pitch + r];
        value = std::fabs(value);  // positive time steps
      }
  d.A_by_state.resize(d.scan.A.size());
  for (int i = 0; i < s.channels; ++i)
    for (int n = 0; n < s.state; ++n) d.A_by_state[n * s.channels + i] = d.scan.A[i * s.state + n];
  return d;
}

// Sets delta, B and C of the scan to those of the projection, and its gate to that of xz, after they were rounded to
// the element type.
inline void project(PairDirection& d, const PairSizes& s, const Values& xz) {
  const int pitch = s.rank + 2 * s.state;
  for (std::int64_t t = 0; t < std::int64_t{s.batch} * s.length; ++t) {
    const float* row = &d.projection[t * pitch];
    for (int i = 0; i < s.channels; ++i) {
      double sum = 0;
      for (int r = 0; r < s.rank; ++r) sum += static_cast<double>(row[r]) * d.delta_weight[r * s.channels + i];
      d.scan.delta[t * s.channels + i] = static_cast<float>(sum);
      d.scan.z[t * s.channels + i] = xz[(2 * t + 1) * s.channels + i];
    }
    for (int n = 0; n < s.state; ++n) {
      d.scan.B[t * s.state + n] = row[s.rank + n];
      d.scan.C[t * s.state + n] = row[s.rank + s.state + n];
    }
  }
}

// Both directions, scaled.
inline std::vector<double> solve_pair(const PairDirection& forward, const PairDirection& backward, double scale) {
  std::vector<double> y = forward.scan.solve();
  const std::vector<double> other = backward.scan.solve();
  for (std::size_t i = 0; i < y.size(); ++i) y[i] = (y[i] + other[i]) * scale;
  return y;
}

}  // namespace cuda_test
