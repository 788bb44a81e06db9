"""Offline: turns one trained model into measured variants on the shelf."""
