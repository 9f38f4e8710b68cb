// The dot product instruction for bytes, at eight lanes; requires -mavxvnni, or -mavx512vnni and -mavx512vl.
#pragma once

#include "lanes_avx2.h"

namespace vim_fused {
namespace {

struct DotAvx2 {
  using Lanes = vim_scan::Avx2;
  using Int = Lanes::Int;
  static Int multiply_add(Int sum, Int x, Int w) {
    const auto s = reinterpret_cast<__m256i>(sum), a = reinterpret_cast<__m256i>(x), b = reinterpret_cast<__m256i>(w);
#if defined(__AVXVNNI__)
    return reinterpret_cast<Int>(_mm256_dpbusd_avx_epi32(s, a, b));
#else
    return reinterpret_cast<Int>(_mm256_dpbusd_epi32(s, a, b));
#endif
  }
};

}  // namespace
}  // namespace vim_fused
