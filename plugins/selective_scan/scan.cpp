// Selects the kernel for this CPU.
#include "scan.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "scan_tasks.h"

#if defined(VIM_SCAN_NEON)
#include <sys/auxv.h>
#endif

namespace vim_scan {
namespace {

#if defined(VIM_SCAN_AVX2)
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#endif
#if defined(VIM_SCAN_AVX512)
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}
bool has_avx512_vnni() { return has_avx512() && __builtin_cpu_supports("avx512vnni"); }
bool has_avx512_bf16() { return has_avx512_vnni() && __builtin_cpu_supports("avx512bf16"); }
#endif
#if defined(VIM_SCAN_EVEX_VNNI)
bool has_avx_vnni() { return has_avx2() && has_avx512_vnni(); }
#elif defined(VIM_SCAN_AVX_VNNI)
bool has_avx_vnni() { return has_avx2() && __builtin_cpu_supports("avxvnni"); }
#endif
#if defined(VIM_SCAN_NEON)
bool has_neon_bf16() {
  constexpr unsigned long bf16 = 1ul << 14;  // HWCAP2_BF16, which headers before Linux 5.7 do not define
  return (getauxval(AT_HWCAP2) & bf16) != 0;
}
#endif
bool always() { return true; }

struct InstructionSet {
  const char* name;
  bool (*supported)();
  void (*run_tasks)(const Arguments&, std::int64_t, std::int64_t);
};

constexpr InstructionSet kInstructionSets[] = {  // best first
#if defined(VIM_SCAN_AVX512)
    // These have the same scan kernel; the fused operators differ.
    {"avx512_bf16", has_avx512_bf16, run_tasks_avx512},
    {"avx512_vnni", has_avx512_vnni, run_tasks_avx512},
    {"avx512", has_avx512, run_tasks_avx512},
#endif
#if defined(VIM_SCAN_AVX_VNNI)
    {"avx2_vnni", has_avx_vnni, run_tasks_avx2},
#endif
#if defined(VIM_SCAN_AVX2)
    {"avx2", has_avx2, run_tasks_avx2},
#endif
#if defined(VIM_SCAN_NEON)
    {"neon_bf16", has_neon_bf16, run_tasks_neon},  // likewise
    {"neon", always, run_tasks_neon},
#endif
    {"portable", always, run_tasks_portable},
};

struct Choice {
  const InstructionSet* chosen = nullptr;
  char usable[80] = {};
  char error[240] = {};
};

Choice choose() {
#if defined(__x86_64__)
  __builtin_cpu_init();  // required before main
#endif
  Choice choice;
  const char* wanted = std::getenv("VIM_DEPLOY_ISA");
  const bool forced = wanted != nullptr && wanted[0] != '\0';
  for (const InstructionSet& candidate : kInstructionSets) {
    if (!candidate.supported()) continue;
    if (choice.usable[0] != '\0') std::strcat(choice.usable, ", ");
    std::strcat(choice.usable, candidate.name);
    const bool fits = !forced || std::strcmp(wanted, candidate.name) == 0;
    if (fits && choice.chosen == nullptr) choice.chosen = &candidate;
  }
  if (choice.chosen == nullptr)
    std::snprintf(choice.error, sizeof choice.error,
                  "VIM_DEPLOY_ISA=%.40s: this build supports %s on this CPU; set it to one of these, or unset it "
                  "to use the best",
                  wanted, choice.usable);
  return choice;
}

const Choice choice = choose();

}  // namespace

void set_dense_pitches(Arguments& arguments) {
  arguments.u_pitch = arguments.delta_pitch = arguments.z_pitch = arguments.y_pitch = arguments.channels;
  arguments.B_pitch = arguments.C_pitch = arguments.groups * arguments.state;
}

std::int64_t task_count(const Arguments& arguments) {
  const std::int64_t channels = arguments.channels / arguments.groups;
  return arguments.batch * arguments.groups * channel_blocks(channels, arguments.length);
}

void run_tasks(const Arguments& arguments, std::int64_t first, std::int64_t last) {
  choice.chosen->run_tasks(arguments, first, last);
}

const char* instruction_set() { return choice.chosen != nullptr ? choice.chosen->name : nullptr; }

const char* usable_instruction_sets() { return choice.usable; }

const char* instruction_set_error() { return choice.chosen != nullptr ? nullptr : choice.error; }

}  // namespace vim_scan
