"""One file = one per-request policy."""
