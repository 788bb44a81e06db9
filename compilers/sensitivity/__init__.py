"""How much each layer of a model minds being quantized or pruned, measured layer by layer."""
