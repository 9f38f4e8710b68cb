// Compares ort_abi.h with ONNX Runtime's header. Compiled, but not linked, if a build sets ONNXRUNTIME_ROOT.
#include <onnxruntime_c_api.h>

#include "ort_abi.h"

#define VIM_CHECK_SLOT(function, slot, result, ...)                     \
  static_assert(offsetof(OrtApi, function) == (slot) * sizeof(void*), #function);
VIM_ORT_FUNCTIONS(VIM_CHECK_SLOT)
VIM_ORT_CUDA_FUNCTIONS(VIM_CHECK_SLOT)
#undef VIM_CHECK_SLOT

#define VIM_CHECK_MEMBER(member) \
  static_assert(offsetof(OrtCustomOp, member) == offsetof(ort_abi::CustomOp, member), #member)
VIM_CHECK_MEMBER(version);
VIM_CHECK_MEMBER(CreateKernel);
VIM_CHECK_MEMBER(GetName);
VIM_CHECK_MEMBER(GetExecutionProviderType);
VIM_CHECK_MEMBER(GetInputType);
VIM_CHECK_MEMBER(GetInputTypeCount);
VIM_CHECK_MEMBER(GetOutputType);
VIM_CHECK_MEMBER(GetOutputTypeCount);
VIM_CHECK_MEMBER(KernelCompute);
VIM_CHECK_MEMBER(KernelDestroy);
VIM_CHECK_MEMBER(GetInputCharacteristic);
VIM_CHECK_MEMBER(GetOutputCharacteristic);
VIM_CHECK_MEMBER(GetInputMemoryType);
VIM_CHECK_MEMBER(GetVariadicInputMinArity);
VIM_CHECK_MEMBER(GetVariadicInputHomogeneity);
VIM_CHECK_MEMBER(GetVariadicOutputMinArity);
VIM_CHECK_MEMBER(GetVariadicOutputHomogeneity);
VIM_CHECK_MEMBER(CreateKernelV2);
VIM_CHECK_MEMBER(KernelComputeV2);
VIM_CHECK_MEMBER(InferOutputShapeFn);
VIM_CHECK_MEMBER(GetStartVersion);
VIM_CHECK_MEMBER(GetEndVersion);
VIM_CHECK_MEMBER(GetMayInplace);
VIM_CHECK_MEMBER(ReleaseMayInplace);
VIM_CHECK_MEMBER(GetAliasMap);
VIM_CHECK_MEMBER(ReleaseAliasMap);
#undef VIM_CHECK_MEMBER

static_assert(offsetof(OrtApiBase, GetApi) == offsetof(ort_abi::ApiBase, GetApi));
static_assert(offsetof(OrtApiBase, GetVersionString) == offsetof(ort_abi::ApiBase, GetVersionString));
static_assert(ORT_API_VERSION >= ort_abi::kCudaApiVersion);
static_assert(int{ORT_FAIL} == ort_abi::kFail && int{ORT_INVALID_ARGUMENT} == ort_abi::kInvalidArgument);
static_assert(int{ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT} == ort_abi::kFloat);
static_assert(int{ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8} == ort_abi::kInt8);
static_assert(int{ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16} == ort_abi::kFloat16);
static_assert(int{ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16} == ort_abi::kBFloat16);
static_assert(int{INPUT_OUTPUT_REQUIRED} == ort_abi::kRequired);
