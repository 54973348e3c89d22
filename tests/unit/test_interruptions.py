"""A scheduler's signals: one interrupts the work, none the tidying up, none is lost for good."""

import atexit
import signal
import subprocess
import sys

import pytest

from jobs import cli
from tests.commandline import ROOT


@pytest.fixture(params=cli.WARNINGS)
def warned(request, monkeypatch):
    """Sends the signal, as the command line takes it."""
    monkeypatch.setattr(atexit, "register", lambda function: None)
    before = signal.signal(request.param, cli._interrupt_once)
    yield lambda: signal.raise_signal(request.param)
    signal.signal(request.param, before)


def test_tidying_up_is_not_interrupted_however_deep_it_is(warned):
    tidied = []

    def tidy():
        warned()
        try:
            raise OSError("busy")
        except OSError:
            warned()
        tidied.append("here")

    with pytest.raises(SystemExit):
        try:
            try:
                warned()
            finally:
                tidy()
        except KeyboardInterrupt:
            tidy()
            raise SystemExit(130) from None
        finally:
            tidy()
    assert tidied == ["here"] * 3


def test_a_signal_that_was_lost_is_followed_by_one_that_counts(warned, monkeypatch):
    class Lost:
        def __del__(self):
            warned()

    seen = []
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: seen.append(lost.exc_type))
    lost = Lost()
    del lost
    assert seen == [KeyboardInterrupt]
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            warned()
    with pytest.raises(KeyboardInterrupt):
        try:
            raise OSError("an error that is dealt with")
        except OSError:
            warned()


@pytest.mark.slow
def test_what_libraries_do_at_the_end_is_not_interrupted():
    code = (
        "import atexit, os, signal\n"
        "from jobs import cli\n"
        "def tidy():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('tidied', flush=True)\n"
        "atexit.register(tidy)\n"
        "signal.signal(signal.SIGTERM, cli._interrupt_once)\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    signal.pause()\n"
        "except KeyboardInterrupt:\n"
        "    raise SystemExit(130)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "tidied\n", "")
