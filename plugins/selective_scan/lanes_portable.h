// Four lanes: what every x86-64 (SSE2) and 64-bit ARM (NEON) processor has.
#pragma once

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "lanes.h"

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
}  // namespace vim_scan
