"""TensorRT's ONNX parsers without a GPU: records the networks that they make, and computes them."""
