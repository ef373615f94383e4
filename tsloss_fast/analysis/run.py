"""analyze: from a folder of checkpoints to pictures, tables and a page."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from tsloss_fast._files import write_together
from tsloss_fast.analysis import figures
from tsloss_fast.analysis.accuracy import read_accuracy
from tsloss_fast.analysis.features import FEATURES, Topology, topologies
from tsloss_fast.analysis.find import (
    EXPECTED,
    AnalysisError,
    Checkpoint,
    Skipped,
    find_checkpoints,
    folders_with_checkpoints,
)
from tsloss_fast.analysis.names import printable, quoted
from tsloss_fast.analysis.page import PageContent, render_page
from tsloss_fast.analysis.read import PREFIX, UnreadablePrompt, adapter_config, read_prompt
from tsloss_fast.analysis.statistics import LEAST_POINTS, Table, associations
from tsloss_fast.analysis.tokens import NEAREST, Tokens, Vocabulary
from tsloss_fast.persistence.plots import render_figure
from tsloss_fast.tuning.checkpoints import METRICS_FILE, RunError, RunFolder
from tsloss_fast.tuning.models import find_model

log = logging.getLogger(__name__)

PAGE_FILE = "analysis.html"
FEATURES_FILE = "features.csv"
STATISTICS_FILE = "statistics.csv"
LOOPS_FILE = "loops.csv"
TOKENS_FILE = "tokens.csv"
FIGURES = ("features", "diagrams", "barcodes", "accuracy")
OUTPUTS = (
    FEATURES_FILE,
    STATISTICS_FILE,
    LOOPS_FILE,
    TOKENS_FILE,
    *(f"{name}{suffix}" for name in FIGURES for suffix in (".png", ".svg")),
    PAGE_FILE,
)

# More would not fit side by side.
MOST_SHOWN = 6
SHOWN = 4


@dataclass(frozen=True)
class Analysis:
    """The result of an analysis.

    Attributes
    ----------
    checkpoints : list of Checkpoint
        Those read, in the order of the run.
    topologies : list of Topology
        One for each.
    skipped : list of Skipped
        Files left out, and why.
    table : Table or None
        Features against accuracy, where enough accuracies were given.
    files : list of Path
        What was written; the page is the last.
    tokens : Tokens or None
        The nearest tokens of each row, where a model was given.
    """

    checkpoints: list[Checkpoint]
    topologies: list[Topology]
    skipped: list[Skipped]
    table: Table | None
    files: list[Path]
    tokens: Tokens | None = None


def analyze(
    path: str | Path,
    out: str | Path | None = None,
    *,
    epochs: Sequence[int] | None = None,
    accuracy: str | Path | None = None,
    layer: int | None = None,
    model: str | None = None,
    loaded: tuple[Any, Any] | None = None,
    nearest: int = NEAREST,
    overwrite: bool = False,
    progress: bool = True,
) -> Analysis:
    """Analyse the prompt checkpoints in a folder.

    Parameters
    ----------
    path : str or Path
        Folder with ``soft_prompt_epoch_N.pt`` files or PEFT adapters; see `find_checkpoints` and
        `read_prompt`. What cannot be read is skipped and named in the log.
    out : str or Path, optional
        Where to write; ``analysis`` inside `path` by default. Made if need be.
    epochs : sequence of int, optional
        Whose diagrams and barcodes to draw; by default four, evenly spread.
    accuracy : str or Path, optional
        See `read_accuracy`; gives the table and the picture of features against accuracy.
    layer : int, optional
        Which cloud to look at, for an adapter with several; see `read_prompt`.
    model : str, optional
        The model that the prompts were tuned for, as `find_model` takes it: adds the tokens of its
        vocabulary that each row is nearest to.
    loaded : (model, tokenizer), optional
        Use these instead of loading `model`.
    nearest : int, default 5
        How many tokens for each row.
    overwrite : bool, default False
        Replace an analysis in `out`. Its files go once the new ones are complete.
    progress : bool, default True
        Show a progress bar on stderr.

    Raises
    ------
    AnalysisError, RunError, ModelError
        For arguments that cannot be used, with `out` as it was.
    OSError
        When a file cannot be written; all that they would have replaced is left as it is.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    target = RunFolder(folder / "analysis" if out is None else out)
    _refuse_old_output(target.path, overwrite)
    if model is not None and loaded is None:
        find_model(model)
    found, skipped = find_checkpoints(path)
    unit = found[0].unit if found else "epoch"
    accuracies = {} if accuracy is None else read_accuracy(Path(accuracy), unit)
    checkpoints, prompts, unread = _read_all(found, layer, progress)
    skipped += unread
    _name_skipped(skipped)
    if not checkpoints:
        raise AnalysisError(_nothing_found(path, skipped, looked_at=bool(found)))
    positions = [checkpoint.position for checkpoint in checkpoints]
    shown = _shown(positions, epochs, unit)
    scored = [index for index, position in enumerate(positions) if position in accuracies]
    _check_scored(accuracies, len(scored), unit)
    vocabulary = None
    if model is not None or loaded is not None:
        vocabulary = Vocabulary(model, loaded, progress)
        names = [printable(checkpoint.file.name) for checkpoint in checkpoints]
        vocabulary.check(prompts, names, nearest)
    target.prepare()

    with _bar(len(prompts), "diagrams", progress) as bar:
        results = topologies(prompts, bar.update)
    tokens = None
    if vocabulary is not None:
        with _bar(len(prompts), "nearest tokens", progress) as bar:
            tokens = vocabulary.nearest(prompts, nearest, bar.update)
    scores = [accuracies[positions[index]] for index in scored]
    table = _table(scored, positions, results, scores, unit)
    content = PageContent(
        title=printable(path.resolve().name) + ("" if layer is None else f", layer {layer}"),
        unit=unit,
        checkpoints=checkpoints,
        topologies=results,
        accuracies=accuracies,
        table=table,
        skipped=skipped,
        root=folder,
        tokens=tokens,
    )
    outputs = {FEATURES_FILE: _features_csv(content), LOOPS_FILE: _loops_csv(content)}
    if table:
        outputs[STATISTICS_FILE] = _statistics_csv(table)
    if tokens:
        outputs[TOKENS_FILE] = _tokens_csv(content, tokens)
    with _bar(3 + bool(scored), "pictures", progress) as bar:
        for name, figure in _figures(content, shown, scored, scores):
            files = render_figure(figure)
            outputs |= {f"{name}{suffix}": data for suffix, data in files.items()}
            bar.update()
    outputs[PAGE_FILE] = render_page(content)
    return Analysis(checkpoints, results, skipped, table, _write(target.path, outputs), tokens)


def _refuse_old_output(out: Path, overwrite: bool) -> None:
    old = [name for name in OUTPUTS if (out / name).exists()]
    if old and not overwrite:
        raise RunError(
            f"out: {out} holds an analysis already ({old[-1]}); --overwrite replaces it, --out "
            "names another folder"
        )


def _read_all(
    found: Sequence[Checkpoint], layer: int | None, progress: bool
) -> tuple[list[Checkpoint], list[Any], list[Skipped]]:
    """The checkpoints that can be read, their prompts, and those that cannot."""
    checkpoints, prompts, skipped = [], [], []
    with _bar(len(found), "reading", progress) as bar:
        for checkpoint in found:
            try:
                prompts.append(read_prompt(checkpoint.file, layer))
                checkpoints.append(checkpoint)
            except UnreadablePrompt as error:
                skipped.append(Skipped(checkpoint.file, str(error)))
            bar.update()
    return checkpoints, prompts, skipped


def _name_skipped(skipped: Sequence[Skipped]) -> None:
    for one in skipped:
        log.warning("skipped %s: %s", printable(one.file), one.reason)


def _nothing_found(path: Path, skipped: Sequence[Skipped], looked_at: bool) -> str:
    text = f"path: expected {EXPECTED}, got none that can be read: {path}"
    if skipped:
        last = skipped[-1]
        text += f"; {len(skipped)} skipped, the last one, {last.file}: {last.reason}"
    if not looked_at and (inner := folders_with_checkpoints(path)):
        text += f"; there are some in its folders {', '.join(inner[:5])}"
    return text


def _shown(positions: Sequence[int], epochs: Sequence[int] | None, unit: str) -> list[int]:
    """Indices of the checkpoints whose diagrams are drawn."""
    if epochs is None:
        count = min(SHOWN, len(positions))
        last = len(positions) - 1
        return sorted({round(k * last / max(count - 1, 1)) for k in range(count)})
    chosen = list(dict.fromkeys(epochs))
    if not 1 <= len(chosen) <= MOST_SHOWN:
        raise AnalysisError(f"epochs: expected 1 to {MOST_SHOWN} of them, got {len(chosen)}")
    if missing := [epoch for epoch in chosen if epoch not in positions]:
        raise AnalysisError(
            f"epochs: expected {unit}s from {positions[0]} to {positions[-1]} that have a "
            f"checkpoint, got {', '.join(map(str, missing))}"
        )
    return [positions.index(epoch) for epoch in chosen]


def _check_scored(accuracies: dict[int, float], scored: int, unit: str) -> None:
    if not accuracies:
        return
    if not scored:
        raise AnalysisError(
            f"accuracy: expected {unit}s that have a checkpoint, got none of {len(accuracies)}"
        )
    if scored < len(accuracies):
        missing = len(accuracies) - scored
        log.warning("accuracy: %d of %d %ss have no checkpoint", missing, len(accuracies), unit)
    if scored < LEAST_POINTS:
        log.warning(
            "accuracy: no table; it takes %d %ss with a checkpoint, got %d",
            LEAST_POINTS,
            unit,
            scored,
        )


def _table(
    scored: Sequence[int],
    positions: Sequence[int],
    results: Sequence[Topology],
    scores: Sequence[float],
    unit: str,
) -> Table | None:
    if len(scored) < LEAST_POINTS:
        return None
    # The paper's own first, in its order.
    names = sorted(FEATURES, key=lambda name: not FEATURES[name].in_paper)
    columns = {name: [results[index].features[name] for index in scored] for name in names}
    return associations([positions[index] for index in scored], columns, scores, unit)


def _figures(
    content: PageContent, shown: Sequence[int], scored: Sequence[int], scores: Sequence[float]
) -> Iterator[tuple[str, Any]]:
    unit, results = content.unit, content.topologies
    positions = [checkpoint.position for checkpoint in content.checkpoints]
    panels = {f"{unit} {positions[index]}": results[index] for index in shown}
    yield "features", figures.features_figure(positions, results, unit)
    yield "diagrams", figures.diagrams_figure(panels)
    yield "barcodes", figures.barcodes_figure(panels)
    if scored:
        at = [positions[index] for index in scored]
        some = [results[index] for index in scored]
        yield "accuracy", figures.accuracy_figure(at, some, scores, content.table, unit)


def _features_csv(content: PageContent) -> bytes:
    """One line a checkpoint; what is undefined or unknown is left empty."""
    header = [content.unit, "file", "rows", "columns", *FEATURES]
    header += ["accuracy"] if content.accuracies else []
    lines: list[list[Any]] = [header]
    for checkpoint, topology in zip(content.checkpoints, content.topologies, strict=True):
        values = [topology.features[name] for name in FEATURES]
        line = [checkpoint.position, content.name_of(checkpoint.file), topology.n, topology.d]
        line += [value if value == value else "" for value in values]
        if content.accuracies:
            line.append(content.accuracies.get(checkpoint.position, ""))
        lines.append(line)
    return _csv(lines)


def _statistics_csv(table: Table) -> bytes:
    header = ["feature", "spearman_rho", "spearman_p", "mann_whitney_u", "mann_whitney_p"]
    header += ["spearman_rho_with_time"]
    # csv writes None as an empty field.
    return _csv([header, *(list(astuple(row)) for row in table.rows)])


def _loops_csv(content: PageContent) -> bytes:
    """One line a loop, the longest of a checkpoint first; closed walks are parted by semicolons."""
    tokens = content.tokens
    header = [content.unit, "loop", "birth", "death", "lifetime", "rows"]
    lines: list[list[Any]] = [[*header, *(("tokens", "distances") if tokens else ())]]
    for k, checkpoint in enumerate(content.checkpoints):
        for number, loop in enumerate(content.topologies[k].loops, 1):
            rows = "; ".join(" ".join(map(str, walk)) for walk in loop.walks)
            numbers = [f"{x:.7g}" for x in (loop.birth, loop.death, loop.lifetime)]
            line = [checkpoint.position, number, *numbers, rows]
            if tokens:
                nearest = tokens.nearest[k].euclidean
                ids = nearest.ids[loop.rows, 0].tolist()
                texts = [quoted(tokens.texts[i]) if i in tokens.texts else "null" for i in ids]
                distances = [f"{x:.7g}" for x in nearest.distances[loop.rows, 0].tolist()]
                line += [f"[{', '.join(texts)}]", " ".join(distances)]
            lines.append(line)
    return _csv(lines)


def _tokens_csv(content: PageContent, tokens: Tokens) -> bytes:
    """One line a row and token, the nearest first, by Euclidean distance and by cosine."""
    lines: list[list[Any]] = [
        [content.unit, "row", "metric", "rank", "token_id", "token", "distance"]
    ]
    texts = {token: quoted(text) for token, text in tokens.texts.items()}
    for checkpoint, one in zip(content.checkpoints, tokens.nearest, strict=True):
        for metric, neighbours in (("euclidean", one.euclidean), ("cosine", one.cosine)):
            rows = zip(neighbours.ids.tolist(), neighbours.distances.tolist(), strict=True)
            for row, (ids, distances) in enumerate(rows):
                for rank, (token, distance) in enumerate(zip(ids, distances, strict=True), 1):
                    line = [checkpoint.position, row, metric, rank, token, texts.get(token, "")]
                    lines.append([*line, f"{distance:.7g}"])
    return _csv(lines)


def _csv(lines: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue().encode()


def _write(out: Path, outputs: dict[str, bytes]) -> list[Path]:
    try:
        write_together(out, outputs)
    except OSError as error:
        why = f"{error.strerror or error}: cannot write to {out}; its files are as they were"
        raise OSError(error.errno, why) from error
    for name in OUTPUTS:
        if name not in outputs:
            (out / name).unlink(missing_ok=True)
    return [out / name for name in outputs]


@contextmanager
def _bar(total: int, what: str, progress: bool) -> Iterator[Any]:
    from tqdm.auto import tqdm

    # Without files a progress bar would be printed before the error.
    off = not progress or not total
    with tqdm(total=total, desc=what, disable=off, dynamic_ncols=True) as bar:
        yield bar


def metrics_hint(path: Path) -> Path | None:
    """The metrics of our own run in `path`, if they hold enough accuracies for a table."""
    file = path / METRICS_FILE
    if not file.is_file():
        return None
    try:
        return file if len(read_accuracy(file)) >= LEAST_POINTS else None
    except AnalysisError:
        return None


def model_hint(file: Path) -> str | None:
    """The model that a checkpoint was tuned for, as our own settings or PEFT's beside it say."""
    adapter = adapter_config(file)
    # Keys and values are no rows of an embedding.
    name = None if adapter.get("peft_type") == PREFIX else adapter.get("base_model_name_or_path")
    if not adapter:
        try:
            name = RunFolder(file.parent).load_config()["model"]
        # It may be any file of that name.
        except (ValueError, TypeError, KeyError):
            return None
    return printable(name) if isinstance(name, str) and name else None
