"""What a variant takes and how good it is, measured."""
