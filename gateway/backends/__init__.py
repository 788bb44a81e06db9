"""One file = one way to reach a replica."""
