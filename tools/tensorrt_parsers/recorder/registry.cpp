#include "registry.h"

#include <dlfcn.h>

#include <cstring>

namespace recorder {

using namespace nvinfer1;

#if NV_TENSORRT_MAJOR >= 10
namespace {

// For a parser without TensorRT's library: creators of libraries that export `getCreators`.
struct OwnRegistry : IPluginRegistry {
  std::vector<IPluginCreatorInterface*> creators;

  PluginLibraryHandle loadLibrary(const char* path) noexcept override {
    void* library = dlopen(path, RTLD_NOW);
    using Export = IPluginCreatorInterface* const* (*)(std::int32_t&);
    const auto get = library ? reinterpret_cast<Export>(dlsym(library, "getCreators")) : nullptr;
    if (!get) return nullptr;
    std::int32_t count = 0;
    IPluginCreatorInterface* const* found = get(count);
    creators.insert(creators.end(), found, found + count);
    return library;
  }
  IPluginCreatorInterface* const* getAllCreators(std::int32_t* const count) const noexcept override {
    *count = static_cast<std::int32_t>(creators.size());
    return creators.data();
  }
  // Without `override`: the first versions of 10 do not have it.
  virtual IPluginCreatorInterface* const* getAllCreatorsRecursive(std::int32_t* const count) noexcept {
    return getAllCreators(count);
  }
  IPluginCreatorInterface* getCreator(const char* const name, const char* const version,
                                      const char* const name_space) noexcept override {
    for (IPluginCreatorInterface* each : creators) {
      auto* creator = static_cast<IPluginCreatorV3One*>(each);
      if (!std::strcmp(creator->getPluginName(), name) && !std::strcmp(creator->getPluginVersion(), version) &&
          !std::strcmp(creator->getPluginNamespace(), name_space ? name_space : ""))
        return each;
    }
    return nullptr;
  }
  bool registerCreator(IPluginCreator&, const char* const) noexcept override { return false; }
  IPluginCreator* const* getPluginCreatorList(std::int32_t* const count) const noexcept override {
    return *count = 0, nullptr;
  }
  IPluginCreator* getPluginCreator(const char* const, const char* const, const char* const) noexcept override {
    return nullptr;
  }
  bool deregisterCreator(const IPluginCreator&) noexcept override { return false; }
  void setErrorRecorder(IErrorRecorder* const) noexcept override {}
  IErrorRecorder* getErrorRecorder() const noexcept override { return nullptr; }
  bool isParentSearchEnabled() const override { return true; }
  void setParentSearchEnabled(const bool) override {}
  void deregisterLibrary(PluginLibraryHandle) noexcept override {}
  bool registerCreator(IPluginCreatorInterface&, const char* const) noexcept override { return false; }
  bool deregisterCreator(const IPluginCreatorInterface&) noexcept override { return false; }
  IPluginResource* acquirePluginResource(const char*, IPluginResource*) noexcept override { return nullptr; }
  std::int32_t releasePluginResource(const char*) noexcept override { return 0; }
};

}  // namespace
#endif

IPluginRegistry& registry() {
  using Export = IPluginRegistry* (*)();
  if (const auto tensorrt = reinterpret_cast<Export>(dlsym(RTLD_DEFAULT, "getPluginRegistry"))) return *tensorrt();
#if NV_TENSORRT_MAJOR >= 10
  static OwnRegistry own;
  return own;
#else
  std::fputs("the parser of 8.6 did not load libnvinfer.so.8\n", stderr);
  std::abort();
#endif
}

std::string load_plugins(const std::string& path) {
  return registry().loadLibrary(path.c_str()) ? "" : "the registry does not accept the plugin library " + path;
}

}  // namespace recorder
