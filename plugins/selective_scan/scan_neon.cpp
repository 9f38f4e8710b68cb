// Four lanes with the instructions of all 64-bit Arm CPUs.
#include "lanes_neon.h"
#include "scan_kernel.h"

namespace vim_scan {

void run_tasks_neon(const Arguments& arguments, std::int64_t first, std::int64_t last) {
  scan_tasks<Neon>(arguments, first, last);
}

}  // namespace vim_scan
