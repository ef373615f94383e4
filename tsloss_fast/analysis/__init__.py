"""Analysis of a run's checkpoints: reading, diagrams, statistics, pictures, the page.

`run.analyze` does it all, as ``tsloss-fast analyze``.
"""
