"""Explore recipes: which passes, with which options, make variants that nothing else beats."""
