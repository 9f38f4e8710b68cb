// The parser's library, loaded by path.
#pragma once

#include <stdexcept>
#include <string>

#include <dlfcn.h>

#include "NvInfer.h"
#include "NvOnnxParser.h"

namespace recorder {

class ParserLibrary {
 public:
  // Raises std::runtime_error.
  explicit ParserLibrary(const std::string& path) : library_(dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL)) {
    if (!library_) throw std::runtime_error(dlerror());
  }

  nvonnxparser::IParser* create(nvinfer1::INetworkDefinition& network, nvinfer1::ILogger& logger) const {
    const auto make = function<void* (*)(void*, void*, int)>("createNvOnnxParser_INTERNAL");
    auto* parser = static_cast<nvonnxparser::IParser*>(make(&network, &logger, NV_ONNX_PARSER_VERSION));
    if (!parser) throw std::runtime_error("the parser does not accept its network");
    return parser;
  }
#if NV_TENSORRT_MAJOR >= 10
  nvonnxparser::IParserRefitter* create_refitter(nvinfer1::IRefitter& refitter, nvinfer1::ILogger& logger) const {
    const auto make = function<void* (*)(void*, void*, std::int32_t)>("createNvOnnxParserRefitter_INTERNAL");
    return static_cast<nvonnxparser::IParserRefitter*>(make(&refitter, &logger, NV_ONNX_PARSER_VERSION));
  }
#endif

 private:
  template <class Function>
  Function function(const char* name) const {
    void* found = dlsym(library_, name);
    if (!found) throw std::runtime_error(std::string("the parser's library has no function ") + name);
    return reinterpret_cast<Function>(found);
  }
  void* library_;
};

}  // namespace recorder
