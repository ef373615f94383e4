"""Compare drawn clouds with gudhi, ripser and a plain reduction, for a time or a number of them.

python -m tests.fuzz --seconds 60 --seed 1
python -m tests.fuzz --replay runs/fuzz/case_1_17.npz
"""

import argparse
import secrets
import sys
import time
from pathlib import Path

import torch

from tests.fuzz.cases import Case, draw
from tests.fuzz.checks import differences


def problems_of(case: Case) -> list[str]:
    """The differences of a case; an error is one too."""
    found = []
    try:
        # One by one, so that an error leaves what was found before it.
        for difference in differences(case):
            found.append(difference)
    except Exception as error:
        found.append(f"{type(error).__name__}: {error}")
    return found


def fuzz(
    seed: int,
    folder: Path,
    seconds: float = float("inf"),
    clouds: float = float("inf"),
    first: int = 0,
    largest: int = 1025,
) -> tuple[int, int]:
    """Draw and compare until time or number is reached; returns how many, and how many differ."""
    begin, index, failed = time.monotonic(), first, 0
    while time.monotonic() - begin < seconds and index - first < clouds:
        case = draw(seed, index, largest)
        index += 1
        if problems := problems_of(case):
            failed += 1
            print(f"{case}\n  written to {case.save(folder)}", flush=True)
            for problem in problems:
                print(f"  {problem[:600]}", flush=True)
        if (index - first) % 10_000 == 0:
            print(f"{index - first} clouds, {time.monotonic() - begin:.0f} s", flush=True)
    return index - first, failed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--clouds", type=int, default=float("inf"))
    parser.add_argument("--seed", type=int, help="drawn unless given, and printed")
    parser.add_argument("--first", type=int, default=0, help="where to begin in the seed's cases")
    parser.add_argument("--largest", type=int, default=1025, help="points of a cloud at most")
    parser.add_argument("--out", type=Path, default=Path("runs/fuzz"), help="for cases that differ")
    parser.add_argument("--replay", type=Path, help="a file of a case, instead of drawing")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.replay:
        case = Case.load(args.replay)
        problems = problems_of(case)
        print(case, *problems or ["no difference"], sep="\n  ")
        return bool(problems)
    if args.seconds == args.clouds == float("inf"):
        parser.error("--seconds or --clouds: expected one of them, got none")
    seed = secrets.randbits(32) if args.seed is None else args.seed
    begin = time.monotonic()
    count, failed = fuzz(seed, args.out, args.seconds, args.clouds, args.first, args.largest)
    print(
        f"{count} clouds of seed {seed} from {args.first} on, "
        f"{time.monotonic() - begin:.0f} s, {failed} differ"
    )
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
