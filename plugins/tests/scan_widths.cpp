// The kernel with generic vectors of every width. It tests the 16 lanes of AVX-512 on CPUs without it, except for that
// instruction set's rounding and scaling instructions.
#include "scan_kernel.h"
#include "scan_test.h"

namespace vim_test {
namespace {

template <int W>
struct Plain : vim_scan::Lanes<W, Plain<W>> {};

template <int W>
void run(const vim_scan::Arguments& arguments, std::int64_t first, std::int64_t last) {
  vim_scan::scan_tasks<Plain<W>>(arguments, first, last);
}

}  // namespace

#if defined(VIM_WIDTHS_AVX2)
std::vector<Kernel> widths_avx2() {
  return {{"4 lanes, AVX2", run<4>}, {"8 lanes, AVX2", run<8>}, {"16 lanes, AVX2", run<16>}};
}
#else
std::vector<Kernel> widths() { return {{"4 lanes", run<4>}, {"8 lanes", run<8>}, {"16 lanes", run<16>}}; }
#endif

}  // namespace vim_test
