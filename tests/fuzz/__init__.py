"""Differential fuzzing: the package against gudhi, ripser and a plain reduction."""
