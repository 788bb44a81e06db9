"""Importing ONNX files that others made."""
