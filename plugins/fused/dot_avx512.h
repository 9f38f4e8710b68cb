// The dot product instruction for bytes, at sixteen lanes; requires -mavx512vnni.
#pragma once

#include "lanes_avx512.h"

namespace vim_fused {
namespace {

struct DotAvx512 {
  using Lanes = vim_scan::Avx512;
  using Int = Lanes::Int;
  static Int multiply_add(Int sum, Int x, Int w) {
    return reinterpret_cast<Int>(_mm512_dpbusd_epi32(reinterpret_cast<__m512i>(sum), reinterpret_cast<__m512i>(x),
                                                     reinterpret_cast<__m512i>(w)));
  }
};

}  // namespace
}  // namespace vim_fused
