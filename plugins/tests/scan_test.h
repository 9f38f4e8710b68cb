// Shared by the native tests.
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

// The kernel compiled for 4, 8 and 16 lanes, independently of the CPU's vector width.
std::vector<Kernel> widths();
// Likewise, compiled with AVX2 and FMA.
std::vector<Kernel> widths_avx2();

// The contract in scalar double precision; dense (batch, length, channels).
std::vector<double> oracle(const vim_scan::Arguments& arguments);

}  // namespace vim_test
