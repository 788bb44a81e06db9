"""Commands of the offline half."""
