// Eight lanes; compiled with -mavx2 -mfma.
#pragma once

#include <immintrin.h>

#include "lanes.h"

namespace vim_scan {
namespace {

struct Avx2 : Lanes<8, Avx2> {
  // If one operand is NaN, these instructions return the second one, too.
  static Float larger(Float x, Float y) { return _mm256_max_ps(x, y); }
  static Float smaller(Float x, Float y) { return _mm256_min_ps(x, y); }
  static Int nearest(Float x) { return reinterpret_cast<Int>(_mm256_cvtps_epi32(x)); }
  static Int multiply_pairs(Halves x, Halves y) {
    return reinterpret_cast<Int>(_mm256_madd_epi16(reinterpret_cast<__m256i>(x), reinterpret_cast<__m256i>(y)));
  }
};

}  // namespace
}  // namespace vim_scan
