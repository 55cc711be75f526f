"""Kinds of tasks, one file each, found by module name: fedquad/objective.py says what a file offers."""
