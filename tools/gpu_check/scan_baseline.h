// The scan to measure against, as a function of C: a library of it is called from Python, too.
#pragma once

#include <cstdint>

struct CUstream_st;

namespace scan_baseline {
struct Arguments;
}

// 0, or CUDA's error. float16: 1 for u, delta, B, C, z and y in float16, 0 for float32.
extern "C" int scan_baseline_launch(int float16, const scan_baseline::Arguments* arguments, CUstream_st* stream);
