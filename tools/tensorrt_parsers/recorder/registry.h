// TensorRT's plugin registry, and the builder through which a parser asks for it.
#pragma once

#include <string>

#include "records.h"

namespace recorder {

// TensorRT's own registry if its library is loaded, as the parser of 8.6 does, otherwise one of the recorder.
nvinfer1::IPluginRegistry& registry();

// Loads a plugin library. Returns an error, empty if there is none.
std::string load_plugins(const std::string& path);

struct Builder : nvinfer1::IBuilder {
  struct Record : BuilderBase {
    nvinfer1::ILogger* logger = nullptr;
    nvinfer1::IPluginRegistry& getPluginRegistry() noexcept override { return registry(); }
    nvinfer1::ILogger* getLogger() const noexcept override { return logger; }
    bool platformHasFastFp16() const noexcept override { return true; }
    bool platformHasTf32() const noexcept override { return true; }
  } record;
  explicit Builder(nvinfer1::ILogger& logger) {
    record.logger = &logger;
    mImpl = &record;
  }
};

}  // namespace recorder
