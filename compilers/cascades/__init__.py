"""Cascades: calibrated, chosen and shelved."""
