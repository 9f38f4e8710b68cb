# Tests of the CUDA scan and its adapters that need no GPU; pytest builds and runs the same programs.
add_executable(vim_cuda_shim_test test_scan_cuda_shim.cpp scan_oracle.cpp ../selective_scan/scan_cuda_plan.cpp)
target_include_directories(vim_cuda_shim_test PRIVATE ../selective_scan)
target_compile_options(vim_cuda_shim_test PRIVATE -fno-strict-aliasing -Wno-unknown-pragmas)
add_test(NAME cuda_scan_on_cpu COMMAND vim_cuda_shim_test)

add_executable(vim_cuda_plan_test test_cuda_plan.cpp ../selective_scan/scan_cuda_plan.cpp)
add_executable(vim_trt_core_test test_trt_core.cpp ../selective_scan/trt_plugin_core.cpp
  ../selective_scan/scan_cuda_plan.cpp)
set(VIM_ORT_CUDA_FILES ort_cuda_op.cpp ort_scan.cpp ort_tensor.cpp ort_domain.cpp scan_cuda_plan.cpp)
list(TRANSFORM VIM_ORT_CUDA_FILES PREPEND ../selective_scan/)
add_executable(vim_ort_cuda_test test_ort_cuda.cpp ${VIM_ORT_CUDA_FILES})
foreach(program vim_cuda_plan_test vim_trt_core_test vim_ort_cuda_test)
  target_include_directories(${program} PRIVATE ../selective_scan)
  target_link_libraries(${program} PRIVATE vim_deploy_options)
endforeach()
add_test(NAME cuda_plans COMMAND vim_cuda_plan_test)
add_test(NAME trt_core COMMAND vim_trt_core_test)
add_test(NAME ort_cuda COMMAND vim_ort_cuda_test)
