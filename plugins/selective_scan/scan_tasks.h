// The division of work into tasks, and the kernels of each instruction set. Private to the kernel's files.
#pragma once

#include <cstdint>

#include "scan.h"

namespace vim_scan {

// Channels per task. For long sequences, more channels use memory better: with 6085 tokens, 32 channels are 10% slower
// than 64. For short sequences there is no difference, and fewer channels result in enough tasks for all cores.
constexpr int kTaskChannels = 64;
constexpr int kShortTaskChannels = 32;
constexpr std::int64_t kShort = 1024;  // tokens

static constexpr int task_channels(std::int64_t length) {
  return length <= kShort ? kShortTaskChannels : kTaskChannels;
}

static constexpr std::int64_t channel_blocks(std::int64_t channels, std::int64_t length) {
  return (channels + task_channels(length) - 1) / task_channels(length);
}

// One per instruction set of the build; each may only be called if the CPU supports it.
void run_tasks_portable(const Arguments& arguments, std::int64_t first, std::int64_t last);
void run_tasks_avx2(const Arguments& arguments, std::int64_t first, std::int64_t last);
void run_tasks_avx512(const Arguments& arguments, std::int64_t first, std::int64_t last);
void run_tasks_neon(const Arguments& arguments, std::int64_t first, std::int64_t last);

}  // namespace vim_scan
