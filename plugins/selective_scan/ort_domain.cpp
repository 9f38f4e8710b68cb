#include "ort_domain.h"

#include <cstdio>

namespace ort_domain {

using namespace ort_abi;

const ApiTable* table_of(const ApiBase* base, std::uint32_t version, Status** failure) {
  *failure = nullptr;
  if (const ApiTable* table = base->GetApi(version)) return table;
  char message[240];
  std::snprintf(message, sizeof message,
                "vim_deploy: ONNX Runtime %s is too old for this operator library, expected 1.%u or later; upgrade "
                "onnxruntime",
                base->GetVersionString(), version);
  const Api oldest(base->GetApi(1));
  *failure = oldest.CreateStatus(kFail, message);
  return nullptr;
}

Status* add(const Api& api, SessionOptions* options, const char* name, const CustomOp* const* operators,
            std::size_t count) {
  OpDomain* domain = nullptr;
  if (Status* failure = api.CreateCustomOpDomain(name, &domain)) return failure;
  Status* failure = nullptr;
  for (std::size_t i = 0; i < count && failure == nullptr; ++i)
    failure = api.CustomOpDomain_Add(domain, operators[i]);
  if (failure == nullptr) failure = api.AddCustomOpDomain(options, domain);
  if (failure != nullptr) api.ReleaseCustomOpDomain(domain);
  return failure;
}

}  // namespace ort_domain
