"""Encoded examples in a file that is mapped, so that they need not fit into memory."""

from __future__ import annotations

import logging
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from io import BufferedRandom

import numpy as np

from tsloss_fast.tuning.data.encoding import Encoded, Encoder, TooLongError
from tsloss_fast.tuning.data.examples import DataError, Example

log = logging.getLogger(__name__)


class TokenStore(Sequence[Encoded]):
    """Encoded examples, kept in temporary files that go with the store.

    In memory are three numbers for each.

    Attributes
    ----------
    longest : int
        Tokens of the longest.
    indices : sequence of int
        Which of the examples that `encode_all` got they are.
    """

    indices: Sequence[int] = ()

    def __init__(self, examples: Iterable[Encoded]) -> None:
        self.longest = 0
        # Where each one's tokens begin, its target begins, and its answer's bytes begin.
        self._starts, self._targets, self._answers = array("q", [0]), array("q"), array("q", [0])
        with tempfile.TemporaryFile() as tokens, tempfile.TemporaryFile() as answers:
            for example in examples:
                self.longest = max(self.longest, len(example))
                text = example.answer.encode()
                tokens.write(np.array(example.prefix + example.target, dtype=np.int32).tobytes())
                answers.write(text)
                self._targets.append(self._starts[-1] + len(example.prefix))
                self._starts.append(self._starts[-1] + len(example))
                self._answers.append(self._answers[-1] + len(text))
            self._tokens = _mapped(tokens, np.int32)
            self._text = _mapped(answers, np.uint8)

    def __len__(self) -> int:
        return len(self._targets)

    # No slices, which a Sequence takes, too.
    def __getitem__(self, index: int) -> Encoded:  # type: ignore[override]
        index = range(len(self))[index]
        start, target, end = self._starts[index], self._targets[index], self._starts[index + 1]
        text = self._text[self._answers[index] : self._answers[index + 1]]
        return Encoded(
            self._tokens[start:target].tolist(),
            self._tokens[target:end].tolist(),
            text.tobytes().decode(),
        )


def encode_all(examples: Iterable[Example], encoder: Encoder, name: str) -> TokenStore:
    """Encode the examples that fit; how many are too long is logged, under the data's `name`.

    Raises
    ------
    DataError
        If none fits.
    """
    skipped: list[TooLongError] = []
    indices = array("q")

    def fitting() -> Iterator[Encoded]:
        for index, example in enumerate(examples):
            try:
                encoded = encoder(example)
            except TooLongError as error:
                skipped.append(error)
            else:
                indices.append(index)
                yield encoded

    store = TokenStore(fitting())
    store.indices = indices
    if skipped and not store:
        raise DataError(str(skipped[0]))
    if skipped:
        log.warning(
            "%s: %d of %d examples are too long and left out; the first is %s",
            name,
            len(skipped),
            len(skipped) + len(store),
            skipped[0],
        )
    return store


def _mapped(file: BufferedRandom, dtype: type) -> np.ndarray:
    file.flush()
    return np.memmap(file, dtype=dtype, mode="r") if file.tell() else np.empty(0, dtype)
