"""The command before its imports: `--version` at once, and Ctrl-C without a traceback."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import tsloss_fast

ROOT = Path(tsloss_fast.__file__).parents[1]
START = "import sys; from tsloss_fast_command import main; sys.exit(main())"


def start(*args, code=START):
    return subprocess.Popen(
        [sys.executable, "-c", code, *args],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_version_imports_no_torch():
    code = START.replace("sys.exit(main())", "status = main(); print('torch' in sys.modules)")
    process = start("--version", code=code)
    assert process.communicate(timeout=60)[0] == f"tsloss-fast {tsloss_fast.__version__}\nFalse\n"


def test_ctrl_c_during_imports_is_one_line():
    # The import waits, so that the signal comes within it whatever the machine.
    code = (
        "import sys, types, time\n"
        "class Wait:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'torch':\n"
        "            print('importing', flush=True)\n"
        "            time.sleep(60)\n"
        "sys.meta_path.insert(0, Wait())\n" + START
    )
    process = start("info", code=code)
    assert process.stdout.readline() == "importing\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (130, "tsloss-fast: stopped\n")


def test_a_command_runs():
    process = start("info")
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert "tsloss_fast     " in stdout
