"""One folder = one recipe that ships."""
