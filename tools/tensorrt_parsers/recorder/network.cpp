#include "network_add.h"
#include "shapes.h"

namespace recorder {

using namespace nvinfer1;

void NetworkRecord::update() {
  problems().mismatches.clear();
  for (LayerRecord* layer : layers) layer->stale = true;
  for (LayerRecord* layer : layers) layer->update();
}

Tensor* NetworkRecord::add_tensor(LayerRecord* owner, const std::string& name) {
  Tensor* tensor = &tensors_.emplace_back();
  tensor->record.owner = owner;
  tensor->record.name = name;
  tensor->record.id = static_cast<int>(tensors_.size()) - 1;
  return tensor;
}

ITensor* NetworkRecord::addInput(const char* name, DataType type, DimsArgument dims) noexcept {
  Tensor* tensor = add_tensor(nullptr, name);
  tensor->record.type = type;
  tensor->record.dims = dims;
  tensor->record.input = true;
  inputs.push_back(tensor);
  return tensor;
}

void NetworkRecord::markOutput(ITensor& tensor) noexcept {
  static_cast<Tensor&>(tensor).record.output = true;
  outputs.push_back(&tensor);
}

// Adds a layer `Kind` and defines `layer` as it.
#define RECORD(Kind, KIND, inputs, output_count, rule) \
  auto* layer = add<I##Kind##Layer, Kind##LayerRecord>(LayerType::k##KIND, #Kind, inputs, output_count, rule)

IActivationLayer* NetworkRecord::addActivation(ITensor& input, ActivationType type) noexcept {
  RECORD(Activation, ACTIVATION, {&input}, 1, same_as_input);
  layer->setActivationType(type);
  return layer;
}

ICastLayer* NetworkRecord::addCast(ITensor& input, DataType type) noexcept {
  RECORD(Cast, CAST, {&input}, 1, cast);
  layer->setToType(type);
  return layer;
}

IConcatenationLayer* NetworkRecord::addConcatenation(ITensor* const* parts, std::int32_t count) noexcept {
  RECORD(Concatenation, CONCATENATION, (std::vector<ITensor*>(parts, parts + count)), 1, concatenation);
  layer->setAxis(0);
  return layer;
}

IConstantLayer* NetworkRecord::addConstant(DimsArgument dims, Weights weights) noexcept {
  RECORD(Constant, CONSTANT, {}, 1, constant);
  layer->setDimensions(dims);
  layer->setWeights(weights);
  return layer;
}

IConvolutionLayer* NetworkRecord::addConvolutionNd(ITensor& input, Size maps, DimsArgument kernel, Weights weights,
                                                   Weights bias) noexcept {
  RECORD(Convolution, CONVOLUTION, {&input}, 1, convolution);
  layer->setNbGroups(1);
  layer->setNbOutputMaps(maps);
  layer->setKernelSizeNd(kernel);
  layer->setKernelWeights(weights);
  layer->setBiasWeights(bias);
  return layer;
}

IDeconvolutionLayer* NetworkRecord::addDeconvolutionNd(ITensor& input, Size maps, DimsArgument kernel, Weights weights,
                                                       Weights bias) noexcept {
  RECORD(Deconvolution, DECONVOLUTION, {&input}, 1, deconvolution);
  layer->setNbGroups(1);
  layer->setNbOutputMaps(maps);
  layer->setKernelSizeNd(kernel);
  layer->setKernelWeights(weights);
  layer->setBiasWeights(bias);
  return layer;
}

IElementWiseLayer* NetworkRecord::addElementWise(ITensor& first, ITensor& second,
                                                 ElementWiseOperation operation) noexcept {
  RECORD(ElementWise, ELEMENTWISE, (std::vector<ITensor*>{&first, &second}), 1, elementwise);
  layer->setOperation(operation);
  return layer;
}

IFillLayer* NetworkRecord::addFill(DimsArgument dims, FillOperation operation) noexcept {
  RECORD(Fill, FILL, {}, 1, fill);
  layer->setDimensions(dims);
  layer->setOperation(operation);
  return layer;
}

IGatherLayer* NetworkRecord::addGather(ITensor& data, ITensor& indices, std::int32_t axis) noexcept {
  IGatherLayer* layer = addGatherV2(data, indices, GatherMode::kDEFAULT);
  layer->setGatherAxis(axis);
  return layer;
}

IGatherLayer* NetworkRecord::addGatherV2(ITensor& data, ITensor& indices, GatherMode mode) noexcept {
  RECORD(Gather, GATHER, (std::vector<ITensor*>{&data, &indices}), 1, gather);
  layer->setMode(mode);
  return layer;
}

IIdentityLayer* NetworkRecord::addIdentity(ITensor& input) noexcept {
  RECORD(Identity, IDENTITY, {&input}, 1, same_values_too);
  return layer;
}

IMatrixMultiplyLayer* NetworkRecord::addMatrixMultiply(ITensor& first, MatrixOperation first_operation,
                                                       ITensor& second, MatrixOperation second_operation) noexcept {
  RECORD(MatrixMultiply, MATRIX_MULTIPLY, (std::vector<ITensor*>{&first, &second}), 1, matrix_multiply);
  layer->setOperation(0, first_operation);
  layer->setOperation(1, second_operation);
  return layer;
}

INMSLayer* NetworkRecord::addNMS(ITensor& boxes, ITensor& scores, ITensor& most) noexcept {
  RECORD(NMS, NMS, (std::vector<ITensor*>{&boxes, &scores, &most}), 2, nms);
  return layer;
}

INonZeroLayer* NetworkRecord::addNonZero(ITensor& input) noexcept {
  RECORD(NonZero, NON_ZERO, {&input}, 1, non_zero);
  return layer;
}

INormalizationLayer* NetworkRecord::addNormalization(ITensor& input, ITensor& scale, ITensor& bias,
                                                     std::uint32_t axes) noexcept {
  RECORD(Normalization, NORMALIZATION, (std::vector<ITensor*>{&input, &scale, &bias}), 1, normalization);
  layer->setAxes(axes);
  return layer;
}

IPoolingLayer* NetworkRecord::addPoolingNd(ITensor& input, PoolingType type, DimsArgument window) noexcept {
  RECORD(Pooling, POOLING, {&input}, 1, pooling);
  layer->setPoolingType(type);
  layer->setWindowSizeNd(window);
  return layer;
}

IReduceLayer* NetworkRecord::addReduce(ITensor& input, ReduceOperation operation, std::uint32_t axes,
                                       bool keep) noexcept {
  RECORD(Reduce, REDUCE, {&input}, 1, reduce);
  layer->setOperation(operation);
  layer->setReduceAxes(axes);
  layer->setKeepDimensions(keep);
  return layer;
}

IResizeLayer* NetworkRecord::addResize(ITensor& input) noexcept {
  RECORD(Resize, RESIZE, {&input}, 1, resize);
  return layer;
}

IScaleLayer* NetworkRecord::addScale(ITensor& input, ScaleMode mode, Weights shift, Weights scale,
                                     Weights power) noexcept {
  return addScaleNd(input, mode, shift, scale, power, 1);
}

IScaleLayer* NetworkRecord::addScaleNd(ITensor& input, ScaleMode mode, Weights shift, Weights scale, Weights power,
                                       std::int32_t axis) noexcept {
  RECORD(Scale, SCALE, {&input}, 1, same_as_input);
  layer->setMode(mode);
  layer->setShift(shift);
  layer->setScale(scale);
  layer->setPower(power);
  layer->setChannelAxis(axis);
  return layer;
}

IScatterLayer* NetworkRecord::addScatter(ITensor& data, ITensor& indices, ITensor& updates,
                                         ScatterMode mode) noexcept {
  RECORD(Scatter, SCATTER, (std::vector<ITensor*>{&data, &indices, &updates}), 1, same_as_input);
  layer->setMode(mode);
  return layer;
}

ISelectLayer* NetworkRecord::addSelect(ITensor& condition, ITensor& first, ITensor& second) noexcept {
  RECORD(Select, SELECT, (std::vector<ITensor*>{&condition, &first, &second}), 1, select);
  return layer;
}

IShapeLayer* NetworkRecord::addShape(ITensor& input) noexcept {
  RECORD(Shape, SHAPE, {&input}, 1, shape);
  return layer;
}

IShuffleLayer* NetworkRecord::addShuffle(ITensor& input) noexcept {
  RECORD(Shuffle, SHUFFLE, {&input}, 1, shuffle);
  layer->settings.zero_is_placeholder = true;  // TensorRT's default
  for (int axis = 0; axis < Dims::MAX_DIMS; ++axis)
    layer->settings.first_transpose.order[axis] = layer->settings.second_transpose.order[axis] = axis;
  return layer;
}

ISliceLayer* NetworkRecord::addSlice(ITensor& input, DimsArgument start, DimsArgument size,
                                     DimsArgument stride) noexcept {
  RECORD(Slice, SLICE, {&input}, 1, slice);
  layer->setStart(start);
  layer->setSize(size);
  layer->setStride(stride);
  return layer;
}

ISoftMaxLayer* NetworkRecord::addSoftMax(ITensor& input) noexcept {
  RECORD(SoftMax, SOFTMAX, {&input}, 1, same_as_input);
  return layer;
}

ITopKLayer* NetworkRecord::addTopK(ITensor& input, TopKOperation operation, std::int32_t k,
                                   std::uint32_t axes) noexcept {
  RECORD(TopK, TOPK, {&input}, 2, top_k);
  layer->setOperation(operation);
  layer->setK(k);
  layer->setReduceAxes(axes);
  return layer;
}

IQuantizeLayer* NetworkRecord::addQuantize(ITensor& input, ITensor& scale) noexcept {
  RECORD(Quantize, QUANTIZE, (std::vector<ITensor*>{&input, &scale}), 1, quantize);
  layer->setAxis(-1);
  return layer;
}

IDequantizeLayer* NetworkRecord::addDequantize(ITensor& input, ITensor& scale) noexcept {
  RECORD(Dequantize, DEQUANTIZE, (std::vector<ITensor*>{&input, &scale}), 1, dequantize);
  layer->setAxis(-1);
  return layer;
}

IUnaryLayer* NetworkRecord::addUnary(ITensor& input, UnaryOperation operation) noexcept {
  RECORD(Unary, UNARY, {&input}, 1, same_as_input);
  layer->setOperation(operation);
  return layer;
}

#if NV_TENSORRT_MAJOR >= 10
IQuantizeLayer* NetworkRecord::addQuantizeV2(ITensor& input, ITensor& scale, DataType type) noexcept {
  IQuantizeLayer* layer = addQuantize(input, scale);
  layer->setToType(type);
  return layer;
}

IDequantizeLayer* NetworkRecord::addDequantizeV2(ITensor& input, ITensor& scale, DataType type) noexcept {
  IDequantizeLayer* layer = addDequantize(input, scale);
  layer->setToType(type);
  return layer;
}

IFillLayer* NetworkRecord::addFillV2(DimsArgument dims, FillOperation operation, DataType type) noexcept {
  IFillLayer* layer = addFill(dims, operation);
  layer->setOutputType(0, type);
  return layer;
}

// As the project builds with 10 and later.
NetworkDefinitionCreationFlags NetworkRecord::getFlags() const noexcept {
  return 1U << static_cast<int>(NetworkDefinitionCreationFlag::kSTRONGLY_TYPED);
}
bool NetworkRecord::getFlag(NetworkDefinitionCreationFlag flag) const noexcept {
  return getFlags() >> static_cast<int>(flag) & 1;
}
#endif

#if RECORDER_HAS_SQUEEZE
ISqueezeLayer* NetworkRecord::addSqueeze(ITensor& input, ITensor& axes) noexcept {
  RECORD(Squeeze, SQUEEZE, (std::vector<ITensor*>{&input, &axes}), 1, squeeze);
  return layer;
}

IUnsqueezeLayer* NetworkRecord::addUnsqueeze(ITensor& input, ITensor& axes) noexcept {
  RECORD(Unsqueeze, UNSQUEEZE, (std::vector<ITensor*>{&input, &axes}), 1, unsqueeze);
  return layer;
}
#endif

}  // namespace recorder
