// Sixteen lanes; compiled with -mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma.
#include "lanes_avx512.h"
#include "scan_kernel.h"

namespace vim_scan {

void run_tasks_avx512(const Arguments& arguments, std::int64_t first, std::int64_t last) {
  scan_tasks<Avx512>(arguments, first, last);
}

}  // namespace vim_scan
