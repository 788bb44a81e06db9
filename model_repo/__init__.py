"""The vocabulary and the shelf: what a variant is, where it lies, how it runs."""
