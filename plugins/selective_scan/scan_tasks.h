// How the work is cut into tasks, and the kernels to choose from; private to the kernel's own files.
#pragma once

#include <cstdint>

#include "scan.h"

namespace vim_scan {

// Channels of one task. In long sequences wide tasks use memory better: with 6085 tokens 32 channels take a tenth
// longer than 64. In short ones they cost the same, and there narrow ones leave enough of them for the cores.
constexpr int kTaskChannels = 64;
constexpr int kShortTaskChannels = 32;
constexpr std::int64_t kShort = 1024;  // tokens

static constexpr int task_channels(std::int64_t length) {
  return length <= kShort ? kShortTaskChannels : kTaskChannels;
}

static constexpr std::int64_t channel_blocks(std::int64_t channels, std::int64_t length) {
  return (channels + task_channels(length) - 1) / task_channels(length);
}

// One per instruction set that the compiler could build; each is safe to call only where it is supported.
void run_tasks_portable(const Arguments& arguments, std::int64_t first, std::int64_t last);
void run_tasks_avx2(const Arguments& arguments, std::int64_t first, std::int64_t last);
void run_tasks_avx512(const Arguments& arguments, std::int64_t first, std::int64_t last);

}  // namespace vim_scan
