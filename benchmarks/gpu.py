"""The rows of a CUDA device: kernels, TSLoss in a training step, H0 of 20,000 points.

    python -m benchmarks.gpu                  # prints the table and writes its JSON
    python -m benchmarks.gpu --only kernels   # one group: kernels, h1, losses, large, step
    python -m benchmarks.gpu --out FOLDER     # where the JSON goes

Takes a few minutes on an H200. A row is timed only after its result was found equal to the CPU
engine's. Kernel times are those between two CUDA events around one call, and step times those of
the host's clock around a step that ends by waiting for the device; medians with p20 and p80. Two
sides of one row run in turn. What cannot be measured on the machine says why instead of a number.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

import tsloss_fast as tsl
from benchmarks import results
from tsloss_fast import _C
from tsloss_fast._engine import operators as ops
from tsloss_fast._engine.cuda_h1 import launch as cuda_h1
from tsloss_fast._timing import spread

MIB = 2**20


def event_seconds(call: Callable[[], object], runs: int, warm_up: int = 5) -> list[float]:
    """Device seconds of single calls, with the L2 cache cleared before each."""
    flush = torch.empty(256 * MIB, dtype=torch.uint8, device="cuda")
    seconds = []
    for k in range(warm_up + runs):
        flush.zero_()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        end.synchronize()
        if k >= warm_up:
            seconds.append(start.elapsed_time(end) / 1e3)
    return seconds


def graph_seconds(call: Callable[[], object], runs: int) -> list[float]:
    """Device seconds of single replays of a CUDA graph, which leaves the launches out."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side):
        call()
    return event_seconds(graph.replay, runs)


def host_seconds(calls: dict[str, Callable[[], object]], runs: int) -> dict[str, list[float]]:
    """Seconds of the host's clock until the device is done, the calls in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for k in range(3 + runs):
        for name, call in calls.items():
            torch.cuda.synchronize()
            start = time.perf_counter()
            call()
            torch.cuda.synchronize()
            if k >= 3:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def row(what: str, seconds: list[float], **more: object) -> dict[str, object]:
    """One line of the results."""
    return {"what": what, **spread(seconds).as_dict(), **more}


def clouds(B: int, n: int, d: int) -> torch.Tensor:
    return torch.randn(B, n, d, generator=torch.Generator().manual_seed(n)).cuda()


def require_same_h0(D: torch.Tensor) -> None:
    """Stop unless H0 of the device is that of the CPU engine, edge by edge."""
    expected = torch.from_numpy(_C.rips(D.cpu().numpy(), 0)[0].bars)
    if not torch.equal(ops.h0_critical_edges(D).cpu(), expected):
        raise SystemExit(f"H0 of {list(D.shape)} differs from the CPU engine's: nothing was timed")


def require_same_loss(loss: tsl.TSLoss, x: torch.Tensor) -> None:
    """Stop unless loss and gradient are those of the CPU engine in float64."""
    found, expected = x.detach().requires_grad_(), x.detach().cpu().double().requires_grad_()
    values = [loss(found).cpu().double(), loss(expected)]
    for value in values:
        value.backward()
    gradients = [found.grad.cpu().double(), expected.grad]
    for ours, theirs in (values, gradients):
        # The distances are float32, and the terms are sums of squares of small differences.
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-3 * theirs.abs().max().item())


def kernel_rows(runs: int) -> Iterator[dict[str, object]]:
    """Each kernel alone, on batches of prompts."""
    for B, n, d in ((1, 20, 2048), (1, 100, 2048), (64, 128, 768), (1, 1000, 768)):
        x = clouds(B, n, d)
        shape = f"B = {B}, n = {n}"
        D = tsl.pairwise_distances(x)
        exact = torch.from_numpy(_C.distances(x.cpu().double().numpy(), torch.get_num_threads()))
        torch.testing.assert_close(D.cpu().double(), exact, rtol=1e-5, atol=0)
        for timer, how in ((event_seconds, "call"), (graph_seconds, "graph")):
            seconds = timer(lambda x=x: tsl.pairwise_distances(x), runs)
            yield row(f"distances, {shape}, d = {d}, {how}", seconds)
        seconds = event_seconds(lambda x=x: torch.cdist(x, x), runs)
        yield row(f"torch.cdist, {shape}, d = {d}, call", seconds)
        require_same_h0(D)
        goal = 40e-6 if (B, n) == (64, 128) else None
        for timer, how in ((event_seconds, "call"), (graph_seconds, "graph")):
            seconds = timer(lambda D=D: ops.h0_critical_edges(D), runs)
            yield row(f"H0, {shape}, D given, {how}", seconds, goal_s=goal)


def require_same_h1(D: torch.Tensor, h0: torch.Tensor) -> None:
    """Stop unless the kernels' H1 is that of the CPU engine, bar by bar."""
    expected = torch.from_numpy(_C.rips(D.cpu().numpy(), 1)[1].bars)
    found = cuda_h1.h1_bars(D, h0)
    bars = found.bars[:, : expected.shape[1]].cpu()
    if found.flags.any() or not torch.equal(bars, expected):
        raise SystemExit(f"H1 of {list(D.shape)} differs from the CPU engine's: nothing was timed")


# B and n of H1 on the device, and what is aimed at.
H1_GOALS = {(1, 20): 30e-6, (1, 100): 120e-6, (64, 128): 1e-3, (1, 256): None, (1, 512): None}


def h1_rows(runs: int) -> Iterator[dict[str, object]]:
    """H1 by kernels alone, of distances that are on the device, and by the host of the same."""
    for (B, n), goal in H1_GOALS.items():
        D = tsl.pairwise_distances(clouds(B, n, 1024))
        h0 = ops.h0_critical_edges(D)
        require_same_h1(D, h0)
        shape = f"B = {B}, n = {n}, D given"
        for timer, how in ((event_seconds, "call"), (graph_seconds, "graph")):
            seconds = timer(lambda D=D, h0=h0: cuda_h1.h1_bars(D, h0), runs)
            yield row(f"H1 by kernels, {shape}, {how}", seconds, goal_s=goal)
        by_host = {"host": lambda D=D: ops.rips_bars(D, 1)}
        yield row(f"H0 and H1 by the host, {shape}", host_seconds(by_host, runs)["host"])


# The losses that are timed, by how they are said.
LOSSES = {
    "persistence": {"mode": "persistence"},
    "persistence by the host": {"mode": "persistence", "h1": "host"},
    "surrogate": {"mode": "surrogate"},
}


def loss_rows(runs: int) -> Iterator[dict[str, object]]:
    """TSLoss forward and backward, both modes, and H1 by kernels and by the host."""
    for n in (20, 100):
        x = 0.02 * clouds(1, n, 2048)[0]
        for name, options in LOSSES.items():
            loss = tsl.TSLoss(**options)
            require_same_loss(loss, x)
            prompt = x.clone().requires_grad_()

            def step(loss: tsl.TSLoss = loss, prompt: torch.Tensor = prompt) -> None:
                prompt.grad = None
                loss(prompt).backward()

            seconds = host_seconds({"step": step}, runs)["step"]
            yield row(f"TSLoss {name}, forward + backward, n = {n}, d = 2048", seconds)
            if loss.h1 != "host":

                def gradient(
                    loss: tsl.TSLoss = loss, prompt: torch.Tensor = prompt
                ) -> tuple[torch.Tensor, ...]:
                    # Not backward(), which adds to .grad on the stream of its first call.
                    return torch.autograd.grad(loss(prompt), prompt)

                yield row(
                    f"TSLoss {name}, the same as a CUDA graph, n = {n}",
                    graph_seconds(gradient, runs),
                )


def large_rows(n: int, d: int = 768) -> Iterator[dict[str, object]]:
    """H0 of one large cloud from its points, with its memory, and single linkage on the CPU."""
    x = clouds(1, n, d)[0]
    # In float64 on the CPU: edges could differ at near ties of float32, total lengths do not.
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    (h0,) = tsl.rips_persistence(x, max_dim=0)
    peak = torch.cuda.max_memory_allocated() - before
    start = time.perf_counter()
    # Of more points it takes minutes; there the engine's H0 of the same distances is the check.
    expected = single_linkage(x.cpu().numpy()) if n <= 5000 else None
    cpu_seconds = time.perf_counter() - start
    if expected is not None:
        found = h0.deaths.cpu().double().sort().values
        torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-5, atol=0)
    seconds = event_seconds(lambda: tsl.rips_persistence(x, max_dim=0), 10, warm_up=2)
    yield row(
        f"H0 from points, n = {n}, d = {d}",
        seconds,
        goal_s=50e-3 if n == 20_000 else None,
        peak_floats_per_n2=peak / 4 / n**2,
        goal_floats_per_n2=1.1,
        checked="total lengths of SciPy's single linkage"
        if expected is not None
        else "the CPU engine on the same distances",
    )
    if expected is not None:
        yield row(f"SciPy single linkage on the CPU, n = {n}, d = {d}", [cpu_seconds])
    D = tsl.pairwise_distances(x)
    require_same_h0(D[None])
    yield row(f"distances, n = {n}, d = {d}", event_seconds(lambda: tsl.pairwise_distances(x), 10))
    yield row(f"H0, n = {n}, D given", event_seconds(lambda: ops.h0_critical_edges(D[None]), 10))


def single_linkage(x: np.ndarray) -> np.ndarray | None:
    """The merge heights of SciPy's single linkage, ascending; None without SciPy."""
    try:
        from scipy.cluster.hierarchy import linkage
    except ImportError:
        return None
    return np.sort(linkage(x.astype(np.float64), "single")[:, 2])


def step_rows(runs: int) -> Iterator[dict[str, object]]:
    """A training step of a model of Gemma-2B's shape, with TSLoss and without."""
    try:
        from transformers import GemmaConfig, GemmaForCausalLM
    except ImportError as error:
        yield {"what": "TSLoss in a step of Gemma-2B's shape", "not_measured": str(error)}
        return
    # The published shape of Gemma-2B; the weights are random.
    config = GemmaConfig(
        vocab_size=256_000, hidden_size=2048, intermediate_size=16_384, num_hidden_layers=18,
        num_attention_heads=8, num_key_value_heads=1, head_dim=256,
    )  # fmt: skip
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("cuda"):
            model = GemmaForCausalLM(config)
    finally:
        torch.set_default_dtype(torch.float32)
    ids = torch.randint(0, 256_000, (8, 128), device="cuda")
    for with_what, options in LOSSES.items():
        steps = {}
        for name, loss in (("plain", None), ("tsloss", tsl.TSLoss(**options))):
            prompt = tsl.SoftPrompt(100, 2048).cuda()
            lm = tsl.PromptTunedLM(model, prompt, loss, padding_side="right")
            optimizer = torch.optim.AdamW(prompt.parameters(), lr=5e-5, fused=True)

            def step(lm: tsl.PromptTunedLM = lm, optimizer: object = optimizer) -> None:
                optimizer.zero_grad()
                lm(ids, labels=ids).loss.backward()
                optimizer.step()

            steps[name] = step
        seconds = host_seconds(steps, runs)
        plain, with_loss = (statistics.median(seconds[name]) for name in ("plain", "tsloss"))
        yield row("step of Gemma-2B's shape, batch 8 x 128, n = 100", seconds["plain"])
        yield row(
            f"the same with TSLoss {with_what}",
            seconds["tsloss"],
            share=(with_loss - plain) / plain,
            goal_share=0.01,
        )


def machine() -> dict[str, object]:
    """What the figures have to be read with."""
    return {
        **results.machine(torch.get_num_threads()),
        "device": torch.cuda.get_device_name(),
        "cuda": torch.version.cuda,
        "triton": results.package_version("triton"),
    }


HEADER = "what | median, µs | p20 to p80, µs | goal"
# A goal, what is held against it, and how the two are said.
GOALS = (
    ("goal_s", "median_s", lambda value, goal: f"goal {goal * 1e6:,.0f} µs"),
    ("goal_share", "share", lambda value, goal: f"{value:.2%} of the step, goal {goal:.0%}"),
    (
        "goal_floats_per_n2",
        "peak_floats_per_n2",
        lambda value, goal: f"{value:.2f} n^2 floats, goal {goal:g}",
    ),
)


def cells(result: dict[str, object]) -> list[str]:
    """One line of the table."""
    if "not_measured" in result:
        return [result["what"], f"not measured: {result['not_measured']}", "", ""]
    micro = {key: f"{result[key] * 1e6:,.1f}" for key in ("median_s", "p20_s", "p80_s")}
    notes = [
        f"{told(result[key], result[goal])}: {'met' if result[key] <= result[goal] else 'NOT met'}"
        for goal, key, told in GOALS
        if result.get(goal)
    ]
    middle = f"{micro['p20_s']} to {micro['p80_s']}"
    return [result["what"], micro["median_s"], middle, "; ".join(notes)]


def say(*columns: str) -> None:
    """Print one line of the table."""
    print(f"| {' | '.join(columns)} |", flush=True)


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    names = ("kernels", "h1", "losses", "large", "step")
    parser.add_argument("--only", choices=names, action="append")
    parser.add_argument("--out", type=Path, default=results.FOLDER)
    parser.add_argument("--runs", type=int, default=50)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("expected a CUDA device that torch can use, got none")

    groups = {
        "kernels": lambda: kernel_rows(arguments.runs),
        "h1": lambda: h1_rows(arguments.runs),
        "losses": lambda: loss_rows(arguments.runs),
        "large": lambda: itertools.chain(large_rows(5000), large_rows(20_000)),
        "step": lambda: step_rows(20),
    }
    about, rows, errors = machine(), [], {}
    commit, date = results.commit(), results.now()
    file = results.ResultFile(arguments.out, "gpu", str(about["device"]), commit, date)
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    print()
    say(*HEADER.split(" | "))
    say("---", "---:", "---:", "---")
    content = {"kind": "gpu", "suite": "gpu", "commit": commit, "date": date, "machine": about}
    for name in arguments.only or groups:
        # A group that fails must not lose what the others measured.
        try:
            for result in groups[name]():
                rows.append(result)
                say(*cells(result))
                file.write({**content, "complete": False, "rows": rows, "errors": errors})
        except (Exception, SystemExit) as error:
            errors[name] = f"{type(error).__name__}: {error}"
            say(name, f"FAILED: {errors[name]}", "", "")
    file.write({**content, "complete": not errors, "rows": rows, "errors": errors})
    print(f"\nwritten: {file.path}")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
