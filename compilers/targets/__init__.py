"""One file = one target."""
