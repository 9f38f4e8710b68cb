#include <cmath>

#include "scan_test.h"

namespace vim_test {
namespace {

double softplus(double x) { return x > 20.0 ? x : std::log1p(std::exp(x)); }

}  // namespace

std::vector<double> oracle(const vim_scan::Arguments& a) {
  std::vector<double> y(static_cast<std::size_t>(a.batch * a.length * a.channels));
  for (std::int64_t element = 0; element < a.batch; ++element) {
    for (std::int64_t channel = 0; channel < a.channels; ++channel) {
      const std::int64_t first_state = channel / (a.channels / a.groups) * a.state;
      std::vector<double> h(static_cast<std::size_t>(a.state), 0.0);
      for (std::int64_t step = 0; step < a.length; ++step) {
        const std::int64_t row = element * a.length + (a.reverse ? a.length - 1 - step : step);
        const double u = a.u[row * a.u_pitch + channel];
        double dt = a.delta[row * a.delta_pitch + channel];
        if (a.delta_bias != nullptr) dt += a.delta_bias[channel];
        if (a.delta_softplus) dt = softplus(dt);
        double sum = a.D != nullptr ? a.D[channel] * u : 0.0;
        for (std::int64_t n = 0; n < a.state; ++n) {
          double& state = h[static_cast<std::size_t>(n)];
          state = std::exp(dt * a.A[channel * a.state + n]) * state + dt * a.B[row * a.B_pitch + first_state + n] * u;
          sum += a.C[row * a.C_pitch + first_state + n] * state;
        }
        if (a.z != nullptr) {
          const double z = a.z[row * a.z_pitch + channel];
          sum *= z / (1.0 + std::exp(-z));
        }
        y[static_cast<std::size_t>(row * a.channels + channel)] = sum;
      }
    }
  }
  return y;
}

}  // namespace vim_test
