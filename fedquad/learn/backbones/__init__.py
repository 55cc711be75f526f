"""Backbones that the package carries."""
