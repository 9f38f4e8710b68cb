"""ONNX graphs: look-ups and rewrites that several packages share. Needs onnx and numpy."""
