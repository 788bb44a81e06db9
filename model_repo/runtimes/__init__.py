"""One file = one artifact format; used by measuring and by serving, so both time the same code."""
