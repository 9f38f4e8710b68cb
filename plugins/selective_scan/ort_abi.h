// The part of ONNX Runtime's C API that this library uses, declared here because few systems have its headers. The
// API only grows: OrtApi is a table of functions whose slots never move, and later members of OrtCustomOp are read
// only if `version` includes them. abi_check.cpp compares all of this with the real header, if a build has one
// (ONNXRUNTIME_ROOT).
#pragma once

#include <cstddef>
#include <cstdint>

namespace ort_abi {

// The first version with KernelContext_ParallelFor: ONNX Runtime 1.17.
constexpr std::uint32_t kApiVersion = 17;
// The first version with KernelContext_GetScratchBuffer: ONNX Runtime 1.18.
constexpr std::uint32_t kCudaApiVersion = 18;

struct Status;
struct Value;
struct KernelInfo;
struct KernelContext;
struct ShapeInferContext;
struct TensorShape;  // OrtTensorTypeAndShapeInfo
struct SessionOptions;
struct OpDomain;
struct MemoryInfo;
struct Allocator;
struct ApiTable;  // OrtApi, reached only by slot

struct ApiBase {  // OrtApiBase
  const ApiTable* (*GetApi)(std::uint32_t version);
  const char* (*GetVersionString)();
};

enum ErrorCode : int { kFail = 1, kInvalidArgument = 2 };
enum ElementType : int { kUndefined = 0, kFloat = 1, kInt8 = 3, kFloat16 = 10, kBFloat16 = 16 };
enum Characteristic : int { kRequired = 0, kOptional = 1 };

struct CustomOp {  // OrtCustomOp as of version 18
  std::uint32_t version;
  void* (*CreateKernel)(const CustomOp*, const ApiTable*, const KernelInfo*);
  const char* (*GetName)(const CustomOp*);
  const char* (*GetExecutionProviderType)(const CustomOp*);
  ElementType (*GetInputType)(const CustomOp*, std::size_t);
  std::size_t (*GetInputTypeCount)(const CustomOp*);
  ElementType (*GetOutputType)(const CustomOp*, std::size_t);
  std::size_t (*GetOutputTypeCount)(const CustomOp*);
  void (*KernelCompute)(void*, KernelContext*);
  void (*KernelDestroy)(void*);
  Characteristic (*GetInputCharacteristic)(const CustomOp*, std::size_t);
  Characteristic (*GetOutputCharacteristic)(const CustomOp*, std::size_t);
  int (*GetInputMemoryType)(const CustomOp*, std::size_t);
  int (*GetVariadicInputMinArity)(const CustomOp*);
  int (*GetVariadicInputHomogeneity)(const CustomOp*);
  int (*GetVariadicOutputMinArity)(const CustomOp*);
  int (*GetVariadicOutputHomogeneity)(const CustomOp*);
  Status* (*CreateKernelV2)(const CustomOp*, const ApiTable*, const KernelInfo*, void**);
  Status* (*KernelComputeV2)(void*, KernelContext*);
  Status* (*InferOutputShapeFn)(const CustomOp*, ShapeInferContext*);
  int (*GetStartVersion)(const CustomOp*);
  int (*GetEndVersion)(const CustomOp*);
  // Read if `version` is 18 or later; may be null.
  std::size_t (*GetMayInplace)(int** inputs, int** outputs);
  void (*ReleaseMayInplace)(int* inputs, int* outputs);
  std::size_t (*GetAliasMap)(int** inputs, int** outputs);
  void (*ReleaseAliasMap)(int* inputs, int* outputs);
};

// X(function, slot, result, arguments...)
#define VIM_ORT_FUNCTIONS(X)                                                                                 \
  X(CreateStatus, 0, Status*, int code, const char* message)                                                 \
  X(CreateCustomOpDomain, 26, Status*, const char* name, OpDomain** domain)                                  \
  X(CustomOpDomain_Add, 27, Status*, OpDomain*, const CustomOp*)                                             \
  X(AddCustomOpDomain, 28, Status*, SessionOptions*, OpDomain*)                                              \
  X(GetTensorMutableData, 51, Status*, Value*, void** data)                                                  \
  X(GetDimensionsCount, 61, Status*, const TensorShape*, std::size_t* count)                                 \
  X(GetDimensions, 62, Status*, const TensorShape*, std::int64_t* dimensions, std::size_t count)             \
  X(GetTensorTypeAndShape, 65, Status*, const Value*, TensorShape** shape)                                   \
  X(KernelInfoGetAttribute_float, 85, Status*, const KernelInfo*, const char* name, float* value)            \
  X(KernelInfoGetAttribute_int64, 86, Status*, const KernelInfo*, const char* name, std::int64_t* value)     \
  X(KernelContext_GetInput, 90, Status*, const KernelContext*, std::size_t index, const Value** value)       \
  X(KernelContext_GetOutput, 91, Status*, KernelContext*, std::size_t index, const std::int64_t* dimensions, \
    std::size_t count, Value** value)                                                                        \
  X(ReleaseStatus, 93, void, Status*)                                                                        \
  X(ReleaseTensorTypeAndShapeInfo, 99, void, TensorShape*)                                                   \
  X(ReleaseCustomOpDomain, 101, void, OpDomain*)                                                             \
  X(KernelContext_ParallelFor, 274, Status*, const KernelContext*, void (*task)(void*, std::size_t),         \
    std::size_t total, std::size_t batches, void* data)

// Additional functions for operators on GPUs; available from kCudaApiVersion on.
#define VIM_ORT_CUDA_FUNCTIONS(X)                                                                           \
  X(AllocatorFree, 76, Status*, Allocator*, void* memory)                                                   \
  X(ReleaseAllocator, 132, void, Allocator*)                                                                \
  X(KernelContext_GetGPUComputeStream, 193, Status*, const KernelContext*, void** stream)                   \
  X(GetTensorMemoryInfo, 194, Status*, const Value*, const MemoryInfo** info)                               \
  X(KernelContext_GetAllocator, 253, Status*, const KernelContext*, const MemoryInfo*, Allocator**)         \
  X(KernelContext_GetScratchBuffer, 277, Status*, const KernelContext*, const MemoryInfo*, std::size_t bytes, \
    void** memory)

#define VIM_ORT_MEMBER(function, slot, result, ...) result (*function)(__VA_ARGS__);
#define VIM_ORT_LOAD(function, slot, result, ...) \
  function = reinterpret_cast<result (*)(__VA_ARGS__)>(slots[slot]);

struct Api {  // the functions above, from one runtime's table
  VIM_ORT_FUNCTIONS(VIM_ORT_MEMBER)

  explicit Api(const ApiTable* table) {
    auto* slots = reinterpret_cast<void* const*>(table);
    VIM_ORT_FUNCTIONS(VIM_ORT_LOAD)
  }
};

struct CudaApi {  // likewise; requires a table of kCudaApiVersion or later, since older ones are shorter
  VIM_ORT_CUDA_FUNCTIONS(VIM_ORT_MEMBER)

  explicit CudaApi(const ApiTable* table) {
    auto* slots = reinterpret_cast<void* const*>(table);
    VIM_ORT_CUDA_FUNCTIONS(VIM_ORT_LOAD)
  }
};

#undef VIM_ORT_MEMBER
#undef VIM_ORT_LOAD

}  // namespace ort_abi
