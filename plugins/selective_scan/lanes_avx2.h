// Eight lanes; compiled with -mavx2 -mfma.
#pragma once

#include <immintrin.h>

#include "lanes.h"

namespace vim_scan {
namespace {

struct Avx2 : Lanes<8, Avx2> {
  // Of a NaN and a number these instructions, too, give the second operand.
  static Float larger(Float x, Float y) { return _mm256_max_ps(x, y); }
  static Float smaller(Float x, Float y) { return _mm256_min_ps(x, y); }
};

}  // namespace
}  // namespace vim_scan
