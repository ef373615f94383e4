"""An sdist, and a wheel for each Python found and each target: `make wheels`, which says more.

The compiler is Zig's, which PyPI has: it links against the symbols that an older glibc had, and its
C++ library is linked in, so no container is needed. An sdist is made first, and every wheel
from it alone. What is published is built by cibuildwheel in .github/workflows/wheels.yml.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
MINORS = range(10, 15)


@dataclass(frozen=True)
class Target:
    """A platform for which Zig compiles, with the names that Python and wheels have for it."""

    zig: str
    python: str  # as sysconfig.get_platform()
    module: str  # the end of an extension module's name, behind the Python


TARGETS = {
    "linux-x86_64": Target("x86_64-linux-gnu.2.28", "linux-x86_64", "x86_64-linux-gnu.so"),
    "linux-aarch64": Target("aarch64-linux-gnu.2.28", "linux-aarch64", "aarch64-linux-gnu.so"),
    "macos-arm64": Target("aarch64-macos.11.0", "macosx-11.0-arm64", "darwin.so"),
}


def pythons() -> Iterator[tuple[str, str]]:
    """Version and path of each CPython found: on the PATH, or installed by pyenv or uv."""
    homes = [Path.home() / ".pyenv/versions", Path.home() / ".local/share/uv/python"]
    for minor in MINORS:
        name = f"python3.{minor}"
        found = [str(path) for home in homes for path in sorted(home.glob(f"*/bin/{name}"))]
        for path in [shutil.which(name), *found]:
            if path and runs(path):
                yield f"3{minor}", path
                break


def runs(python: str) -> bool:
    """Whether it starts, and has the headers without which nothing can be compiled for it."""
    code = "import os, sysconfig as s; assert os.path.exists(s.get_path('include') + '/Python.h')"
    return subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0


def environment(target: Target, version: str) -> dict[str, str]:
    """What tells setuptools to compile by Zig for the target."""
    zig = f"{sys.executable} -m ziglang"
    link = f"{zig} c++ -target {target.zig} -shared -s"
    if not target.python.startswith("linux"):
        link += " -undefined dynamic_lookup"
    return {
        **os.environ,
        "CC": f"{zig} cc -target {target.zig}",
        "CXX": f"{zig} c++ -target {target.zig}",
        "LDSHARED": link,
        "LDCXXSHARED": link,
        "_PYTHON_HOST_PLATFORM": target.python,
        "SETUPTOOLS_EXT_SUFFIX": f".cpython-{version}-{target.module}",
    }


def build(*arguments: str | Path, out: Path, env: dict[str, str] | None = None) -> Path:
    """Run `uv build`, and return the one file that it made."""
    shutil.rmtree(out, ignore_errors=True)
    command = ["uv", "build", *map(str, arguments), "--out-dir", str(out)]
    subprocess.run(command, cwd=ROOT, env=env, check=True)
    (made,) = [path for path in out.iterdir() if path.suffix in {".gz", ".whl"}]
    return made


def wheel(sdist: Path, version: str, python: str, target: Target, out: Path) -> None:
    """Build one wheel, and let auditwheel name it by the oldest glibc that it runs with."""
    raw = ROOT / "build" / "wheels" / f"{version}-{target.python}"
    made = build("--wheel", sdist, "--python", python, out=raw, env=environment(target, version))
    if target.python.startswith("linux"):
        subprocess.run(["auditwheel", "repair", "--wheel-dir", str(out), str(made)], check=True)
    else:
        shutil.copy(made, out)


def main() -> int:
    """Build what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=["linux-x86_64"])
    parser.add_argument("--minors", nargs="+", type=int, default=list(MINORS), help="of Python 3")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    sdist = shutil.copy(build("--sdist", out=ROOT / "build" / "wheels" / "sdist"), args.out)
    found = {version: path for version, path in pythons() if int(version[1:]) in args.minors}
    for minor in args.minors:
        if f"3{minor}" not in found:
            sys.stdout.write(f"no wheel for Python 3.{minor}: none with headers was found\n")
    for version, python in found.items():
        for name in args.targets:
            wheel(Path(sdist), version, python, TARGETS[name], args.out)
    sys.stdout.writelines(f"{path.name}\n" for path in sorted(args.out.iterdir()))
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
