// What the native tests share.
#pragma once

#include <cstdint>
#include <vector>

#include "scan.h"

namespace vim_test {

using RunTasks = void (*)(const vim_scan::Arguments&, std::int64_t first, std::int64_t last);

struct Kernel {
  const char* name;
  RunTasks run_tasks;
};

// The kernel's text at 4, 8 and 16 lanes, whatever the processor's own width.
std::vector<Kernel> widths();
// The same compiled with AVX2 and FMA.
std::vector<Kernel> widths_avx2();

// The contract's arithmetic in double precision, one number at a time; dense (batch, length, channels).
std::vector<double> oracle(const vim_scan::Arguments& arguments);

}  // namespace vim_test
