"""One file = one pass over a model."""
