"""From torch or ONNX to one StableHLO program, and what a TPU would make of it."""
