"""Data sets: one module each, found by module name."""
