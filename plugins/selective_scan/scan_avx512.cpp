// Sixteen lanes; compiled with -mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma.
#include <immintrin.h>

#include "scan_kernel.h"

namespace vim_scan {
namespace {

struct Avx512 : Lanes<16> {
  // Rounding and scaling by a power of two are instructions here, and they reach 0, infinity and NaN by themselves.
  static Float exp2(Float x) {
    constexpr int nearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    const Float i = _mm512_roundscale_ps(x, nearest);
    return _mm512_scalef_ps(fraction_power(x - i), i);
  }
};

}  // namespace

void run_tasks_avx512(const Arguments& arguments, std::int64_t first, std::int64_t last) {
  scan_tasks<Avx512>(arguments, first, last);
}

}  // namespace vim_scan
