"""Commands that need neither half: what is on the shelf, and what it costs."""
