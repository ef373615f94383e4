"""A cell of runs that a tiny model goes through in a moment."""

from experiments.spec import Cell

CELL = Cell("tiny", "larger-number", samples=4, steps=4, batch_size=3, n_tokens=16)
