"""An ONNX graph as a function of jax arrays: one file for each family of operators."""
