"""The page: one HTML file with the diagrams of all epochs inside, that needs no network."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from tsloss_fast.analysis.features import DISTANCE, FEATURES, Topology
from tsloss_fast.analysis.figures import PANELS
from tsloss_fast.analysis.find import Checkpoint, Skipped
from tsloss_fast.analysis.loops import MOST_LOOPS
from tsloss_fast.analysis.names import printable, quoted
from tsloss_fast.analysis.statistics import EXACT_POINTS, Table, caution
from tsloss_fast.analysis.tokens import Tokens
from tsloss_fast.persistence.diagram import PersistenceDiagram
from tsloss_fast.prompt.nearest import Neighbours

TEMPLATE = "page.html"
PLACE = "__DATA__"

# Bars in the whole page, so that it opens at once: about 30 bytes each.
MOST_BARS = 200_000
# Bars of one checkpoint and dimension that are kept in any case.
LEAST_BARS = 50
# Nearest tokens in the whole page, about 15 bytes each; one a row and metric in any case.
MOST_TOKENS = 200_000


@dataclass(frozen=True)
class PageContent:
    """All that the page shows.

    Attributes
    ----------
    title : str
        The name of the run's folder.
    unit : str
        What positions count.
    checkpoints, topologies
        In the order of the run.
    accuracies : mapping of int to float
        By position; may be empty.
    table : Table or None
    skipped : sequence of Skipped
    root : Path
        Files are named from here, so that the page does not tell where on a disk they lay.
    tokens : Tokens or None
    """

    title: str
    unit: str
    checkpoints: Sequence[Checkpoint]
    topologies: Sequence[Topology]
    accuracies: Mapping[int, float]
    table: Table | None
    skipped: Sequence[Skipped]
    root: Path
    tokens: Tokens | None = None

    def name_of(self, file: Path) -> str:
        """A file's name as seen from the run's folder."""
        inside = file.is_relative_to(self.root)
        return printable(file.relative_to(self.root) if inside else file.name)


def render_page(content: PageContent) -> bytes:
    """The page as UTF-8."""
    template = (files("tsloss_fast.analysis") / TEMPLATE).read_text(encoding="utf-8")
    # Inside <script>, "</" could end it and "<!--" change how it is read.
    data = json.dumps(_data(content), separators=(",", ":"), allow_nan=False)
    return template.replace(PLACE, data.replace("<", "\\u003c")).encode()


def _data(content: PageContent) -> dict[str, Any]:
    positions = [checkpoint.position for checkpoint in content.checkpoints]
    kept = max(LEAST_BARS, MOST_BARS // (2 * len(positions)))
    return {
        "title": content.title,
        "unit": content.unit,
        "distance": DISTANCE,
        "positions": positions,
        "files": [content.name_of(checkpoint.file) for checkpoint in content.checkpoints],
        "shapes": [[topology.n, topology.d] for topology in content.topologies],
        "bars": [[_bars(dgm, kept) for dgm in t.diagrams] for t in content.topologies],
        "kept": kept,
        "loops": [
            [[*loop.birth_edge, loop.walks] for loop in topology.loops]
            for topology in content.topologies
        ],
        "most_loops": MOST_LOOPS,
        "features": {
            name: [_number(topology.features[name]) for topology in content.topologies]
            for name in FEATURES
        },
        "labels": {name: feature.label for name, feature in FEATURES.items()},
        "definitions": {name: feature.definition for name, feature in FEATURES.items()},
        "panels": [
            {"title": p.title, "unit": p.unit, "features": dict(p.features)} for p in PANELS
        ],
        "accuracy": [content.accuracies.get(position) for position in positions],
        "table": _table(content.table),
        "caution": caution(content.unit),
        "skipped": [[content.name_of(one.file), one.reason] for one in content.skipped],
        "tokens": _tokens(content.tokens),
    }


def _bars(dgm: PersistenceDiagram, kept: int) -> list[list[float | None]]:
    """[birth, death, i, j, k, l] of each bar, the edges being ij and kl; the longest if many."""
    pairs = dgm.unbatch()[0].double()  # [k, 2]
    edges = [*dgm.birth_edges.unbind(-1), *dgm.death_edges.unbind(-1)]
    rows = list(zip(*pairs.T.tolist(), *(edge.tolist() for edge in edges), strict=True))
    if len(rows) > kept:
        rows = sorted(rows, key=lambda row: row[0] - row[1])[:kept]
    return [[_number(birth), _number(death), *vertices] for birth, death, *vertices in rows]


def _number(value: float) -> float | int | None:
    """Seven digits, all that float32 has; None for what JSON cannot say."""
    if not math.isfinite(value):
        return None
    short = float(f"{value:.7g}")
    return int(short) if short == int(short) else short


def _table(table: Table | None) -> dict[str, Any] | None:
    if table is None:
        return None
    rows = [list(astuple(row)) for row in table.rows]
    return {
        "rows": rows,
        "low": table.low,
        "high": table.high,
        "threshold": table.threshold,
        "p": "exact" if table.low + table.high <= EXACT_POINTS else "t approximation",
    }


def _tokens(tokens: Tokens | None) -> dict[str, Any] | None:
    """The texts by id, and for each metric, checkpoint and row the ids and then the distances."""
    if tokens is None:
        return None
    total = sum(one.euclidean.ids.numel() for one in tokens.nearest)
    k = tokens.nearest[0].euclidean.ids.shape[1]
    kept = min(k, max(1, MOST_TOKENS * k // (2 * total)))
    return {
        "model": tokens.model,
        "kept": kept,
        "all": k,
        "texts": {token: quoted(text) for token, text in tokens.texts.items()},
        "euclidean": [_neighbours(one.euclidean, kept) for one in tokens.nearest],
        "cosine": [_neighbours(one.cosine, kept) for one in tokens.nearest],
    }


def _neighbours(neighbours: Neighbours, kept: int) -> list[list[float | int | None]]:
    ids, distances = (x[:, :kept].tolist() for x in (neighbours.ids, neighbours.distances))
    return [
        [*row, *(_number(distance) for distance in lengths)]
        for row, lengths in zip(ids, distances, strict=True)
    ]
