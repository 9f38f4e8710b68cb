// Runs the source of the baseline scan of tools/gpu_check on the CPU and compares it with the contract in float64: a
// benchmark against an incorrect baseline would be meaningless.
#include "cuda_shim.h"
#include "scan_baseline.cuh"

#include <algorithm>

#include "cuda_problem.h"

namespace {

using cuda_test::Values;

int failures = 0;

// (batch, length, rows) as (batch, rows, length) in the element type's bits; rounds `values` in place.
template <class Element>
std::vector<typename Element::Bits> length_last(Values& values, std::int64_t batch, std::int64_t length) {
  const std::int64_t rows = static_cast<std::int64_t>(values.size()) / (batch * length);
  std::vector<typename Element::Bits> transposed(values.size());
  for (std::int64_t b = 0; b < batch; ++b)
    for (std::int64_t t = 0; t < length; ++t)
      for (std::int64_t r = 0; r < rows; ++r) {
        float& value = values[(b * length + t) * rows + r];
        const auto bits = Element::from_float(value);
        value = Element::to_float(bits);
        transposed[(b * rows + r) * length + t] = bits;
      }
  return transposed;
}

template <class Element, int kThreads, int kItems>
void check(int batch, int length, int channels, int state, bool softplus, double tolerance) {
  cuda_test::Problem p = cuda_test::make_problem(batch, length, channels, state, softplus, false, 7);
  const auto u = length_last<Element>(p.u, batch, length), delta = length_last<Element>(p.delta, batch, length);
  const auto B = length_last<Element>(p.B, batch, length), C = length_last<Element>(p.C, batch, length);
  const auto z = length_last<Element>(p.z, batch, length);
  std::vector<typename Element::Bits> y(u.size());
  const scan_baseline::Arguments arguments{batch,    channels, length,   state,   softplus, u.data(),
                                           delta.data(), p.A.data(), B.data(), C.data(), p.D.data(), z.data(),
                                           p.delta_bias.data(), y.data()};
  for (const auto order : {cuda_shim::Order::kAscending, cuda_shim::Order::kDescending}) {
    using Tile = scan_baseline::Shared<kThreads, kItems>;
    const auto shared = std::make_unique<Tile>();
    std::fill(y.begin(), y.end(), static_cast<typename Element::Bits>(-1));
    cuda_shim::run(static_cast<unsigned>(batch * channels), kThreads, order,
                   [&] { std::memset(static_cast<void*>(shared.get()), 0xff, sizeof(Tile)); },
                   [&] { scan_baseline::scan_block<Element, kThreads, kItems>(arguments, *shared); });
    const std::vector<double> expected = p.solve();
    double error = 0, scale = 0;
    for (std::int64_t b = 0; b < batch; ++b)
      for (std::int64_t t = 0; t < length; ++t)
        for (std::int64_t c = 0; c < channels; ++c) {
          const double want = expected[(b * length + t) * channels + c];
          error = std::max(error, std::fabs(Element::to_float(y[(b * channels + c) * length + t]) - want));
          scale = std::max(scale, std::fabs(want));
        }
    if (error / scale <= tolerance) continue;
    ++failures;
    std::printf("FAILED batch %d length %d channels %d state %d: error %.2e\n", batch, length, channels, state,
                error / scale);
  }
}

}  // namespace

int main() {
  using vim_scan::Float16;
  using vim_scan::Float32;
  check<Float32, 32, 4>(2, 1, 3, 16, true, 2e-6);
  check<Float32, 32, 4>(1, 127, 2, 7, false, 2e-6);
  check<Float32, 32, 8>(2, 197, 3, 16, true, 2e-6);
  check<Float32, 64, 16>(1, 730, 2, 16, true, 2e-6);
  check<Float32, 128, 16>(1, 4097, 1, 16, true, 2e-6);  // three chunks, the last of one token
  check<Float16, 32, 8>(2, 197, 3, 16, true, 1.0 / 2048 + 2e-6);
  check<Float16, 128, 16>(1, 2050, 1, 64, true, 1.0 / 2048 + 2e-6);
  std::printf("baseline scan: %d failures\n", failures);
  return failures == 0 ? 0 : 1;
}
