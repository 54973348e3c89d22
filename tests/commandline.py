"""The `mpo` command as a user runs it."""

import io
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

from jobs.cli import main

ROOT = Path(__file__).parents[1]


def mpo(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "jobs.cli", *arguments],
        check=False,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )


def mpo_here(*arguments: str) -> subprocess.CompletedProcess:
    """The same in this process, without its seconds of imports: for what is done, or refused,
    before anything is started."""
    output, errors, code = io.StringIO(), io.StringIO(), 0
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGTERM)}
    try:
        with patch.dict(os.environ), redirect_stdout(output), redirect_stderr(errors):
            main(list(arguments))
    except SystemExit as ended:
        code = ended.code or 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return subprocess.CompletedProcess(arguments, code, output.getvalue(), errors.getvalue())
