"""Which variant is worth compiling next."""
