"""How well a tuned prompt does on examples that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tsloss_fast.tuning import data
from tsloss_fast.tuning.answering import Answering
from tsloss_fast.tuning.evaluate import greedy_answers, mean_loss
from tsloss_fast.tuning.finished import FinishedRun
from tsloss_fast.tuning.run import examples_of


@dataclass(frozen=True)
class Answer:
    """What was said to a question, what was expected, and how right it is."""

    question: str
    answer: str
    expected: str
    score: float


@dataclass(frozen=True)
class Evaluation:
    """Accuracy and loss on held-out examples.

    Attributes
    ----------
    accuracy : float
        The share of right answers, or the mean score.
    loss : float
        The cross-entropy of the expected answers, a mean over their tokens.
    answers : list of Answer
        In the order of the data, without examples that are too long.
    """

    accuracy: float
    loss: float
    answers: list[Answer]


def held_out_examples(
    run: FinishedRun, file: str | Path | None = None, *, progress: bool = True
) -> list[data.Example]:
    """The examples of a file, or those that the run itself held out.

    Columns, split and length are those of the run's settings. With `progress`, `datasets` may show
    its bars on stderr.

    Raises
    ------
    DataError
        If there are none.
    """
    config = run.config
    if file is not None:
        config = replace(config, eval_data=str(file), holdout=None)
    examples = list(examples_of(config, progress)[1])
    if not examples:
        raise data.DataError("data: expected a file, for the run has held nothing out, got none")
    return examples


def evaluate(
    run: FinishedRun,
    answering: Answering,
    examples: Sequence[data.Example],
    *,
    progress: bool = True,
) -> Evaluation:
    """Have a run's prompt answer examples, and score that as the run's settings say.

    Parameters
    ----------
    run : FinishedRun
    answering : Answering
        Of that run.
    examples : sequence of Example
        Such as `held_out_examples`; those longer than ``max_length`` are left out, and logged.
    progress : bool, default True
        Show a progress bar on stderr.

    Raises
    ------
    DataError
        If all examples are longer than the run's ``max_length``.
    AnswerError
        If the score cannot be used.
    """
    config = run.config
    score = run.score()
    encoder = data.Encoder(answering.tokenizer, config.template, config.max_length)
    encoded = data.encode_all(examples, encoder, "held-out data")
    lm, tokenizer = answering.lm, answering.tokenizer
    loss = mean_loss(lm, tokenizer, encoded, batch_size=config.batch_size)
    texts = greedy_answers(
        lm,
        tokenizer,
        encoded,
        batch_size=config.eval_batch_size,
        max_new_tokens=config.max_new_tokens,
        progress=progress,
    )
    answers = [
        Answer(
            examples[i].question, text.strip(), examples[i].answer, score(text, examples[i].answer)
        )
        for i, text in zip(encoded.indices, texts, strict=True)
    ]
    return Evaluation(sum(each.score for each in answers) / len(answers), loss, answers)
