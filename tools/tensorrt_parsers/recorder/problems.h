// What a recorded network is not, collected for the report: functions of the network that the parser called and the
// recorder lacks, and shapes or types that do not fit each other.
#pragma once

#include <set>
#include <string>
#include <vector>

namespace recorder {

struct Problems {
  std::set<std::string> not_implemented;
  std::vector<std::string> mismatches;
};

inline Problems& problems() {
  static Problems all;
  return all;
}

inline void not_implemented(const char* function) { problems().not_implemented.insert(function); }

}  // namespace recorder
