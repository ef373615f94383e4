"""Finding the prompt checkpoints of a run by their names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

# As the paper's authors save them, and as `tsloss-fast tune` does.
# At most 15 digits: JavaScript cannot tell longer numbers apart.
PROMPT_NAME = re.compile(r"soft_prompt_epoch_(\d{1,15})\.pt")
# As transformers' Trainer and accelerate name the folders of a run.
FOLDER_NAME = re.compile(r"(checkpoint|step|epoch)[-_](\d{1,15})")
ADAPTER_NAMES = ("adapter_model.safetensors", "adapter_model.bin")

# What a prompt under another name may end in; such files are reported as left out.
SUFFIXES = {".bin", ".ckpt", ".npy", ".npz", ".pkl", ".pt", ".pth", ".safetensors"}
# Other files of a run, which are passed over without a word.
COMPANIONS = re.compile(
    r"trainer_state\.pt|soft_prompt_best\.pt|training_args\.bin|rng_state.*\.pth|"
    r"(optimizer|scheduler|scaler)\.(pt|bin)"
)

EXPECTED = (
    "soft_prompt_epoch_N.pt files, or PEFT adapters (adapter_model.safetensors, alone or in "
    "checkpoint-N folders)"
)


class AnalysisError(ValueError):
    """An argument or a file that cannot be analysed: its name, what was expected, what was got.

    A single bad file raises no error: it is skipped.
    """


@dataclass(frozen=True)
class Checkpoint:
    """A file that should hold a prompt, and when in the run it was written.

    ``unit`` is what ``position`` counts: "epoch", "step", or "checkpoint" where only one is known.
    """

    file: Path
    position: int
    unit: str


@dataclass(frozen=True)
class Skipped:
    """A file that is left out, and why."""

    file: Path
    reason: str


def find_checkpoints(path: Path) -> tuple[list[Checkpoint], list[Skipped]]:
    """The checkpoints in a folder, in the order of the run, and what looks like one but is none.

    No file is opened. A path to a file is taken for a run of one checkpoint.

    Raises
    ------
    AnalysisError
        If there is no such path, or it cannot be listed.
    """
    if path.is_file():
        match = PROMPT_NAME.fullmatch(path.name)
        return [_checkpoint(path, match and match[1], "epoch")], []
    try:
        entries = sorted(path.iterdir())
    except OSError as error:
        raise AnalysisError(f"path: expected {EXPECTED}, got {path}: {error.strerror}") from error
    found, skipped = [], []
    for entry in entries:
        try:
            sort = _look_at(entry)
        except OSError as error:
            sort = Skipped(entry, error.strerror or "cannot be looked at")
        if isinstance(sort, Checkpoint):
            found.append(sort)
        elif sort is not None:
            skipped.append(sort)
    return _one_per_position(found, skipped)


def folders_with_checkpoints(path: Path) -> list[str]:
    """Names of the folders in `path` that hold checkpoints: what the user may have meant."""
    if not path.is_dir():
        return []
    folders = sorted(entry for entry in path.iterdir() if entry.is_dir())
    return [folder.name for folder in folders if _holds_checkpoints(folder)]


def _holds_checkpoints(folder: Path) -> bool:
    try:
        return bool(find_checkpoints(folder)[0])
    except AnalysisError:
        return False


def _look_at(entry: Path) -> Checkpoint | Skipped | None:
    """What one entry of the folder is; None if it has nothing to do with prompts."""
    if match := PROMPT_NAME.fullmatch(entry.name):
        return _regular(entry, match[1], "epoch")
    if (match := FOLDER_NAME.fullmatch(entry.name)) and entry.is_dir():
        for name in ADAPTER_NAMES:
            if (entry / name).exists():
                return _regular(entry / name, match[2], "epoch" if match[1] == "epoch" else "step")
        return Skipped(entry, f"holds no {ADAPTER_NAMES[0]}")
    if entry.name in ADAPTER_NAMES:
        return _regular(entry, None, "checkpoint")
    if entry.suffix.lower() in SUFFIXES and not COMPANIONS.fullmatch(entry.name):
        return Skipped(entry, "its name gives no epoch; soft_prompt_epoch_N.pt would")
    return None


def _regular(file: Path, position: str | None, unit: str) -> Checkpoint | Skipped:
    # Opening a pipe would wait for ever.
    if not file.is_file():
        kind = "a folder" if file.is_dir() else "no regular file"
        return Skipped(file, f"{kind}, expected a file")
    return _checkpoint(file, position, unit)


def _checkpoint(file: Path, position: str | None, unit: str) -> Checkpoint:
    return Checkpoint(file, int(position), unit) if position else Checkpoint(file, 0, "checkpoint")


def _one_per_position(
    found: list[Checkpoint], skipped: list[Skipped]
) -> tuple[list[Checkpoint], list[Skipped]]:
    """Keep checkpoints that count the same thing, one for each position."""
    units = {checkpoint.unit for checkpoint in found}
    unit = next((unit for unit in ("epoch", "step", "checkpoint") if unit in units), None)
    kept: dict[int, Checkpoint] = {}
    skipped = list(skipped)
    for checkpoint in found:
        if checkpoint.unit != unit:
            skipped.append(Skipped(checkpoint.file, f"gives no {unit}, as the others do"))
        elif checkpoint.position in kept:
            first = kept[checkpoint.position].file
            name = first.name if first.parent == checkpoint.file.parent else first.parent.name
            skipped.append(
                Skipped(checkpoint.file, f"{unit} {checkpoint.position} is in {name} already")
            )
        else:
            kept[checkpoint.position] = checkpoint
    return [kept[position] for position in sorted(kept)], skipped
