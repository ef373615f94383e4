"""Data: examples read from files, encoded for a tokenizer, put into batches."""

from tsloss_fast.tuning.data.batches import Batch, collate, epoch_batches
from tsloss_fast.tuning.data.encoding import TEMPLATES, Encoded, Encoder
from tsloss_fast.tuning.data.examples import DataError, Example, fingerprint, split
from tsloss_fast.tuning.data.jsonl import read_jsonl

__all__ = [
    "TEMPLATES",
    "Batch",
    "DataError",
    "Encoded",
    "Encoder",
    "Example",
    "collate",
    "epoch_batches",
    "fingerprint",
    "read_jsonl",
    "split",
]
