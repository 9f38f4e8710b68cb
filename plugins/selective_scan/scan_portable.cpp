// Four lanes: what every x86-64 (SSE2) and 64-bit Arm (NEON) CPU has.
#include "lanes_portable.h"
#include "scan_kernel.h"

namespace vim_scan {

void run_tasks_portable(const Arguments& arguments, std::int64_t first, std::int64_t last) {
  scan_tasks<Portable>(arguments, first, last);
}

}  // namespace vim_scan
