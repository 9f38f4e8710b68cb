#include "c_api.h"

#include "contract_fused.h"

std::int32_t vim_deploy_contract_version() { return vim_contract::kVersion; }

std::int32_t vim_deploy_fused_version() { return vim_fused::kVersion; }

const char* vim_deploy_instruction_set() { return vim_scan::instruction_set(); }

const char* vim_deploy_instruction_set_error() { return vim_scan::instruction_set_error(); }

const char* vim_deploy_usable_instruction_sets() { return vim_scan::usable_instruction_sets(); }

std::int64_t vim_deploy_scan_arguments_size() { return sizeof(vim_scan::Arguments); }

std::int64_t vim_deploy_scan_task_count(const vim_scan::Arguments* arguments) {
  return vim_scan::task_count(*arguments);
}

void vim_deploy_scan_run_tasks(const vim_scan::Arguments* arguments, std::int64_t first, std::int64_t last) {
  vim_scan::run_tasks(*arguments, first, last);
}
