// The library's C functions, for callers without an inference runtime (vim_deploy/ops/native.py).
#pragma once

#include <cstdint>

#include "export.h"
#include "scan.h"

extern "C" {

// The version of the operator's contract that this library implements.
VIM_EXPORT std::int32_t vim_deploy_contract_version();

// The version of the fused operators, see contract_fused.h.
VIM_EXPORT std::int32_t vim_deploy_fused_version();

// See the functions of the same names in scan.h.
VIM_EXPORT const char* vim_deploy_instruction_set();
VIM_EXPORT const char* vim_deploy_instruction_set_error();
VIM_EXPORT const char* vim_deploy_usable_instruction_sets();

// The size of vim_scan::Arguments, so that a binding can check its own declaration.
VIM_EXPORT std::int64_t vim_deploy_scan_arguments_size();

// See vim_scan::task_count and vim_scan::run_tasks.
VIM_EXPORT std::int64_t vim_deploy_scan_task_count(const vim_scan::Arguments* arguments);
VIM_EXPORT void vim_deploy_scan_run_tasks(const vim_scan::Arguments* arguments, std::int64_t first,
                                          std::int64_t last);
}
