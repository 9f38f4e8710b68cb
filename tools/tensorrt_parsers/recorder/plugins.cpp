#include "plugins.h"

namespace recorder {

nvinfer1::Dims closed(nvinfer1::Dims dims, Size size) {
  for (int i = 0; i < dims.nbDims; ++i)
    if (dims.d[i] < 0) dims.d[i] = size;
  return dims;
}

}  // namespace recorder
