// How the work is cut into tasks, and the kernels to choose from; private to the kernel's own files.
#pragma once

#include <cstdint>

#include "scan.h"

namespace vim_scan {

// Channels of one task: four cache lines of every row. Wider tasks use memory a little better in long sequences
// (128 channels: a tenth faster at 6085 tokens), and leave too few of them for the cores of one machine.
constexpr int kTaskChannels = 64;

static constexpr std::int64_t channel_blocks(std::int64_t channels) {
  return (channels + kTaskChannels - 1) / kTaskChannels;
}

// One per instruction set that the compiler could build; each is safe to call only where it is supported.
void run_tasks_portable(const Arguments& arguments, std::int64_t first, std::int64_t last);
void run_tasks_avx2(const Arguments& arguments, std::int64_t first, std::int64_t last);
void run_tasks_avx512(const Arguments& arguments, std::int64_t first, std::int64_t last);

}  // namespace vim_scan
