"""One file = one mode of the pass `quantize`; the file's name is the mode's.

Each holds OPTIONS, the options that belong to it, and `quantize(proto, options, kept, work)`, which
gives the quantized onnx.ModelProto and may change `proto`; `kept` names the nodes that stay in
floating point.
"""
