"""What the models learn: a task that the project generates, or a file of questions and answers."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from tsloss_fast.tuning.answers import Score
from tsloss_fast.tuning.data import Example, ExampleFile
from tsloss_fast.tuning.tasks import larger_number

# Runs of 10 and of 64 samples choose and test on the same examples.
MOST_SAMPLES = 64
GENERATED = {"larger-number": larger_number}


@dataclass(frozen=True)
class Task:
    """Examples to train on, to choose the learning rate by, and to test on; no two alike.

    ``score`` is None where an answer is right if it is the expected one token by token.
    """

    train: list[Example]
    validation: list[Example]
    test: list[Example]
    score: Score | None = None


def make_task(name: str, samples: int, validation: int, test: int, seed: int) -> Task:
    """The examples of one run, which depend on the seed alone.

    Parameters
    ----------
    name : str
        A generated task, or the path of a file that `tsloss-fast tune` reads; of one whose answers
        end as GSM8K's do, ``#### 72``, that number is scored.
    samples : int
        Training samples, at most `MOST_SAMPLES`.
    validation, test : int
        Sizes of the two held-out parts. Of a file that is too short, two fifths of what is held out
        are validation, and the rest is test.

    Raises
    ------
    ValueError
        If there are too few examples.
    """
    if not 1 <= samples <= MOST_SAMPLES:
        raise ValueError(f"samples: expected 1 to {MOST_SAMPLES}, got {samples}")
    score = None
    if name in GENERATED:
        examples = GENERATED[name](MOST_SAMPLES + validation + test, seed)
    else:
        examples = list({example.question: example for example in ExampleFile(name)}.values())
        random.Random(seed).shuffle(examples)
        if all("\n####" in example.answer for example in examples):
            score = Score(extract="####", compare="number")
    held_out = len(examples) - MOST_SAMPLES
    if held_out < 5:
        raise ValueError(f"task: expected at least {MOST_SAMPLES + 5} examples in {name}")
    if held_out < validation + test:
        validation = min(validation, held_out * 2 // 5)
    begin = MOST_SAMPLES + validation
    return Task(
        examples[:samples],
        examples[MOST_SAMPLES:begin],
        examples[begin : begin + test],
        score,
    )


def task_label(name: str) -> str:
    """A task's name for files and tables: that of the file, without its folders."""
    return name if name in GENERATED else Path(name).stem
