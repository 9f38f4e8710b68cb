// Four lanes: what every x86-64 (SSE2) and 64-bit Arm (NEON) CPU has.
#pragma once

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "lanes.h"

namespace vim_scan {
namespace {

struct Portable : Lanes<4, Portable> {
#if defined(__SSE2__)
  // If one operand is NaN, these instructions return the second one, too.
  static Float larger(Float x, Float y) { return _mm_max_ps(x, y); }
  static Float smaller(Float x, Float y) { return _mm_min_ps(x, y); }
  static Int nearest(Float x) { return reinterpret_cast<Int>(_mm_cvtps_epi32(x)); }
  static Int multiply_pairs(Halves x, Halves y) {
    return reinterpret_cast<Int>(_mm_madd_epi16(reinterpret_cast<__m128i>(x), reinterpret_cast<__m128i>(y)));
  }
#endif
};

}  // namespace
}  // namespace vim_scan
