"""RunSpec: what one run is, and the file that it becomes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments.arms import Arm
from experiments.models import model_label
from experiments.tasks import task_label

STARTS = ("vocab", "normal", "token")


@dataclass(frozen=True)
class Cell:
    """What arms are compared within: all settings of a run but its arm, rate and seed.

    Attributes
    ----------
    model, task : str
        See `experiments.models.load` and `experiments.tasks.make_task`.
    samples : int
        Training samples.
    start : {"vocab", "normal", "token"}
        Rows of the vocabulary, N(0, 0.02^2), or one token of the vocabulary repeated.
    steps, batch_size : int
        Of AdamW with weight decay 0.01, its rate warmed up over 10 % and then falling to 0.
    n_tokens : int
        Rows of the prompt.
    """

    model: str
    task: str
    samples: int = 10
    start: str = "vocab"
    steps: int = 24
    batch_size: int = 10
    n_tokens: int = 20

    def __post_init__(self) -> None:
        if self.start not in STARTS:
            raise ValueError(f"start: expected one of {STARTS}, got {self.start!r}")

    @property
    def name(self) -> str:
        """The folder of its runs."""
        return "-".join(
            [
                model_label(self.model),
                task_label(self.task),
                f"{self.samples}samples",
                self.start,
                f"{self.steps}steps",
                f"batch{self.batch_size}",
                f"{self.n_tokens}rows",
            ]
        )


@dataclass(frozen=True)
class RunSpec:
    """One run: an arm at a learning rate from a seed, which gives start, samples and order.

    Runs of one cell and seed begin with the same rows and samples, whatever their arm.
    """

    cell: Cell
    arm: str
    rate: float
    seed: int

    def __post_init__(self) -> None:
        Arm(self.arm)

    def file(self, out: Path) -> Path:
        """Its JSON below the folder of all results."""
        return out / self.cell.name / f"{self.arm}_lr{self.rate:g}_seed{self.seed}.json"

    def as_dict(self) -> dict[str, Any]:
        """Everything, flat; of paths the last part alone."""
        cell = asdict(self.cell)
        cell |= {"model": model_label(self.cell.model), "task": task_label(self.cell.task)}
        return cell | {"arm": self.arm, "rate": self.rate, "seed": self.seed}
