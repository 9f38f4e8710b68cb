// The scan's recurrence with LANES, an instruction set's header, and SET, its class: see recurrence.py.
#include LANES
#include "scan_kernel.h"

extern "C" void estimated_recurrence(void* chunk, const void* rows, const void* next, std::int64_t first, int tokens,
                                     const float* rate, float* state) {
  using namespace vim_scan;
  recurrence<SET, 16, false>(*static_cast<Chunk<SET>*>(chunk), *static_cast<const Sequence*>(rows),
                             *static_cast<const NextRows*>(next), first, tokens, 0, rate, state);
}

#if defined(MEASURE)  // prints the cycles per state update of one vector
#include <chrono>
#include <cstdio>

namespace {

template <class Work>
double best_seconds(const Work& work) {
  double best = 1.0;
  for (int i = 0; i < 4000; ++i) {
    const auto from = std::chrono::steady_clock::now();
    work();
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - from;
    if (taken.count() < best) best = taken.count();
  }
  return best;
}

}  // namespace

int main() {
  using namespace vim_scan;
  constexpr int width = SET::width, state = 16, calls = 8, steps = 20000;
  static Chunk<SET> chunk;
  alignas(64) static float rows[kChunk * 2 * state], rate[state * width], h[state * width], unused[kChunk * width];
  for (float& x : rows) x = 0.01f;
  for (float& x : rate) x = -0.5f;
  for (float& x : chunk.dt) x = 0.1f;
  for (float& x : chunk.dt_u) x = 0.1f;
  const Rows<const float> read = {unused, width};
  const Sequence sequence = {read, read, {rows, 2 * state}, {rows + state, 2 * state}, read, {unused, width}};
  const NextRows next(sequence, 0, 0);
  const double updates = best_seconds([&] {
    for (int i = 0; i < calls; ++i) estimated_recurrence(&chunk, &sequence, &next, 0, kChunk, rate, h);
  }) / (calls * kChunk * state);
  // Dependent multiplications take three cycles each on Intel's and AMD's CPUs.
  const double cycle = best_seconds([] {
    std::uint64_t x = 3;
    for (int i = 0; i < steps; ++i) asm volatile("imul %0, %0" : "+r"(x));
  }) / (3.0 * steps);
  std::printf("%.2f\n", updates / cycle);
}
#endif
