// Eight lanes; compiled with -mavx2 -mfma.
#include "lanes_avx2.h"
#include "scan_kernel.h"

namespace vim_scan {

void run_tasks_avx2(const Arguments& arguments, std::int64_t first, std::int64_t last) {
  scan_tasks<Avx2>(arguments, first, last);
}

}  // namespace vim_scan
