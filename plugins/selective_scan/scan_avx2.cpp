// Eight lanes; compiled with -mavx2 -mfma.
#include <immintrin.h>

#include "scan_kernel.h"

namespace vim_scan {
namespace {

struct Avx2 : Lanes<8, Avx2> {
  // Of a NaN and a number these instructions, too, give the second operand.
  static Float larger(Float x, Float y) { return _mm256_max_ps(x, y); }
  static Float smaller(Float x, Float y) { return _mm256_min_ps(x, y); }
};

}  // namespace

void run_tasks_avx2(const Arguments& arguments, std::int64_t first, std::int64_t last) {
  scan_tasks<Avx2>(arguments, first, last);
}

}  // namespace vim_scan
