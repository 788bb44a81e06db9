"""Fitting torch networks, and making them narrower."""
