#include "refit.h"

#include <cstring>
#include <set>

#if NV_TENSORRT_MAJOR >= 10

namespace recorder {

using namespace nvinfer1;

namespace {

struct Use {
  const Weights* weights;
  const LayerRecord* layer;
};
using Wanted = std::map<std::string, Use>;  // by the name of the weights

bool is_integer(DataType type) {
  return type == DataType::kINT32 || type == DataType::kINT64 || type == DataType::kBOOL || type == DataType::kINT8;
}

bool equal(const Weights& first, const Weights& second) {
  return first.type == second.type && first.count == second.count &&
         !std::memcmp(first.values, second.values, static_cast<std::size_t>(first.count) * width_of(first.type));
}

// The refitter of an engine that has only the names and shapes of its weights.
struct Refitter : IRefitter {
  struct Record : RefitterBase {
    Wanted wanted;
    std::set<std::string> given, different;
    ILogger* logger = nullptr;

    std::int32_t getAllWeights(std::int32_t size, const char** names) noexcept override {
      std::int32_t count = 0;
      for (const auto& [name, use] : wanted)
        if (count < size) names[count++] = name.c_str();
      return static_cast<std::int32_t>(wanted.size());
    }
    bool setNamedWeights(const char* name, Weights weights) noexcept override {
      const auto found = wanted.find(name);
      if (found == wanted.end()) return false;
      given.insert(name);
      if (!equal(*found->second.weights, weights)) different.insert(name);
      return true;
    }
    ILogger* getLogger() const noexcept override { return logger; }
  } record;
  Refitter(ILogger& logger, Wanted wanted) {
    record.logger = &logger;
    record.wanted = std::move(wanted);
    mImpl = &record;
  }
};

std::string described(const std::string& name, const Use& use) {
  return name + ", " + std::to_string(use.weights->count) + " of " + name_of(use.weights->type) + ", in " +
         use.layer->name;
}

std::string refit(const ParserLibrary& library, ILogger& logger, const std::string& model, const Wanted& wanted) {
  Refitter refitter(logger, wanted);
  auto* parser = library.create_refitter(refitter, logger);
  const bool complete = parser->refitFromBytes(model.data(), model.size());
  std::vector<std::string> errors, missing;
  for (int i = 0; i < parser->getNbErrors(); ++i) errors.emplace_back(parser->getError(i)->desc());
  for (const auto& [name, use] : wanted)
    if (!refitter.record.given.count(name)) missing.push_back(described(name, use));
  return "{\"complete\":" + json(complete) + ",\"wanted\":" + std::to_string(wanted.size()) +
         ",\"given\":" + std::to_string(refitter.record.given.size()) +
         ",\"different\":" + json_strings(refitter.record.different) + ",\"missing\":" + json_strings(missing) +
         ",\"errors\":" + json_strings(errors) + "}";
}

}  // namespace

std::string refit_json(const NetworkRecord& network, const ParserLibrary& library, ILogger& logger,
                       const std::string& model) {
  Wanted floating, every;
  std::vector<std::string> unnamed;
  for (const LayerRecord* layer : network.layers)
    for (const Weights* weights : layer->settings->weights) {
      if (!weights->count) continue;
      const auto name = network.weight_names.find(weights->values);
      const bool named = name != network.weight_names.end();
      const Use use{weights, layer};
      if (named) every[name->second] = use;
      if (named && !is_integer(weights->type)) floating[name->second] = use;
      if (!named && !is_integer(weights->type)) unnamed.push_back(described("weights without a name", use));
    }
  return "{\"floating\":" + refit(library, logger, model, floating) +
         ",\"all\":" + refit(library, logger, model, every) + ",\"unnamed\":" + json_strings(unnamed) + "}";
}

}  // namespace recorder

#endif
