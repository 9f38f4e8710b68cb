// Four lanes: what every x86-64 (SSE2) and 64-bit ARM (NEON) processor has.
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "scan_kernel.h"

namespace vim_scan {
namespace {

struct Portable : Lanes<4, Portable> {
#if defined(__SSE2__)
  // Of a NaN and a number these instructions, too, give the second operand.
  static Float larger(Float x, Float y) { return _mm_max_ps(x, y); }
  static Float smaller(Float x, Float y) { return _mm_min_ps(x, y); }
#endif
};

}  // namespace

void run_tasks_portable(const Arguments& arguments, std::int64_t first, std::int64_t last) {
  scan_tasks<Portable>(arguments, first, last);
}

}  // namespace vim_scan
