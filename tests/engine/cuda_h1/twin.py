"""The kernels of csrc/cuda compiled for the host, a thread a warp, and what the engine says."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch

from tsloss_fast import _C

ROOT = Path(__file__).parents[3]
SOURCE = Path(__file__).with_name("host_twin.cpp")
COMPILER = os.environ.get("CXX", "c++")


def can_be_built() -> bool:
    """Whether a compiler and the engine's sources are here, as they are not beside a wheel."""
    return shutil.which(COMPILER.split()[0]) is not None and (ROOT / "csrc").is_dir()


@functools.cache
def build(*flags: str) -> Path:
    """The twin compiled with these flags, for as long as this process lasts."""
    folder = tempfile.TemporaryDirectory(prefix="host-twin-")
    build.folders.append(folder)
    out = Path(folder.name) / "host_twin"
    command = [*COMPILER.split(), "-std=c++17", "-O2", "-pthread", *flags]
    subprocess.run([*command, f"-I{ROOT / 'csrc'}", str(SOURCE), "-o", str(out)], check=True)
    return out


build.folders = []


class Bars:
    """What the kernels leave: counts [B], flags [B] and bars [B, generators, 4]."""

    def __init__(self, counts: np.ndarray, flags: np.ndarray, bars: np.ndarray) -> None:
        self.counts, self.flags, self.bars = counts, flags, bars

    def of(self, b: int) -> list[tuple[int, ...]]:
        """The bars of a cloud; what is behind them must be padding."""
        count = self.counts[b]
        assert (self.bars[b, count:] == -1).all()
        return [tuple(bar) for bar in self.bars[b, :count].tolist()]


def words_for(n: int) -> int:
    """The words of the smallest form that takes n points."""
    return next(words for words in (1, 2, 4, 8, 16) if n <= 32 * words)


def run_twin(
    binary: Path,
    D: torch.Tensor,
    warps: int = 2,
    generators: int = 0,
    annotation_words: int = 1 << 20,
    shared: bool = True,
) -> Bars:
    """Bars of D [B, n, n], float32, n > 1; by default there is room for 2048 generators."""
    B, n, _ = D.shape
    generators = generators or min(2048, -(-max((n - 1) * (n - 2) // 2, 1) // 32) * 32)
    h0 = _C.rips(D.numpy(), max_dim=0)[0].bars
    head = np.array([B, n, generators, annotation_words], np.uint32)
    given = head.tobytes() + D.numpy().tobytes() + np.ascontiguousarray(h0).tobytes()
    arguments = [str(binary), str(words_for(n)), str(warps), str(int(shared))]
    ran = subprocess.run(arguments, input=given, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr.decode()[-4000:]
    counts, flags = np.frombuffer(ran.stdout, np.uint32, 2 * B).reshape(2, B)
    bars = np.frombuffer(ran.stdout, np.int64, offset=8 * B).reshape(B, generators, 4)
    return Bars(counts, flags, bars)


def engine_bars(D: torch.Tensor) -> list[tuple[int, ...]]:
    """The engine's bars of H1 of D [n, n]."""
    found = _C.rips(D.numpy(), max_dim=1)[1]
    return [tuple(bar) for bar in found.bars[found.mask].tolist()]
