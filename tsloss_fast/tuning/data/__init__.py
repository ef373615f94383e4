"""Data: examples read from files, encoded for a tokenizer, put into batches."""

from tsloss_fast.tuning.data.batches import Batch, collate, epoch_batches
from tsloss_fast.tuning.data.encoding import (
    LONG_EXAMPLES,
    TEMPLATES,
    Encoded,
    Encoder,
    TooLongError,
)
from tsloss_fast.tuning.data.examples import DataError, Example, fingerprint, held_out, split
from tsloss_fast.tuning.data.reading import ExampleFile, Part, read_jsonl
from tsloss_fast.tuning.data.records import Columns
from tsloss_fast.tuning.data.tokens import TokenStore, encode_all

__all__ = [
    "LONG_EXAMPLES",
    "TEMPLATES",
    "Batch",
    "Columns",
    "DataError",
    "Encoded",
    "Encoder",
    "Example",
    "ExampleFile",
    "Part",
    "TokenStore",
    "TooLongError",
    "collate",
    "encode_all",
    "epoch_batches",
    "fingerprint",
    "held_out",
    "read_jsonl",
    "split",
]
