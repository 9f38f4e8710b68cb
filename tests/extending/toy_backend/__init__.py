"""A backend from outside the package: ONNX's reference evaluator."""
