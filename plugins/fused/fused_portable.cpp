// Four lanes: what every x86-64 (SSE2) and 64-bit ARM (NEON) CPU has.
#include "lanes_portable.h"
#include "fused_kernel.h"

namespace vim_fused {

constexpr Kernels kPortable = kernels_of<vim_scan::Portable>("portable");

}  // namespace vim_fused
