// The baseline scan with a C interface, which Python also calls.
#pragma once

#include <cstdint>

struct CUstream_st;

namespace scan_baseline {
struct Arguments;
}

// Returns 0 or a CUDA error. float16: 1 for u, delta, B, C, z and y in float16, 0 for float32.
extern "C" int scan_baseline_launch(int float16, const scan_baseline::Arguments* arguments, CUstream_st* stream);
