"""ONNX graphs: made, cleaned, rewritten, checked."""
