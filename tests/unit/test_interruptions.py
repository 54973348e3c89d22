"""A scheduler's signals: one interrupts the work, none the tidying up, none is lost."""

import atexit
import ctypes
import signal
import subprocess
import sys
import time
import weakref

import pytest

from jobs.interruptions import WARNINGS, interrupt_once, interruptions
from tests.commandline import ROOT


@pytest.fixture(params=WARNINGS)
def warned(request, monkeypatch):
    """Sends the signal, as the command line takes it."""
    monkeypatch.setattr(atexit, "register", lambda function: None)
    before = signal.signal(request.param, interrupt_once)
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


def of_a_destructor(send):
    class Ending:
        def __del__(self):
            send()

    Ending()


def of_a_weak_reference(send):
    class Known:
        pass

    known = Known()
    _seen_off = weakref.ref(known, lambda _: send())
    del known


def of_a_generator(send):
    def generator():
        try:
            yield
        finally:
            send()

    next(generator())


def of_a_callback_from_c(send):
    ctypes.CFUNCTYPE(None)(send)()


@pytest.mark.parametrize("number", [*WARNINGS, signal.SIGINT])
@pytest.mark.parametrize(
    "within", [of_a_destructor, of_a_weak_reference, of_a_generator, of_a_callback_from_c]
)
def test_an_interruption_that_python_ignores_comes_again(number, within, monkeypatch, capfd):
    monkeypatch.setattr(atexit, "register", lambda function: None)
    before = {one: signal.getsignal(one) for one in (*WARNINGS, signal.SIGINT)}
    # Ignored where the tests run in the background of a shell.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with interruptions(), pytest.raises(KeyboardInterrupt) as raised:
            within(lambda: signal.raise_signal(number))
            time.sleep(10)
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    assert raised.value.args == (() if number == signal.SIGINT else (number,))
    assert capfd.readouterr().err == ""


def test_what_else_python_ignores_is_told_as_before(monkeypatch):
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", lambda ignored: seen.append(ignored.exc_type))
    hook = sys.unraisablehook
    with interruptions():
        of_a_destructor(lambda: 1 / 0)
    assert seen == [ZeroDivisionError] and sys.unraisablehook is hook


def test_an_error_that_is_dealt_with_keeps_no_interruption_away(warned):
    with pytest.raises(KeyboardInterrupt):
        try:
            raise OSError("an error that is dealt with")
        except OSError:
            warned()


@pytest.mark.slow
def test_what_libraries_do_at_the_end_is_not_interrupted():
    code = (
        "import atexit, os, signal\n"
        "from jobs.interruptions import interrupt_once\n"
        "def tidy():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('tidied', flush=True)\n"
        "atexit.register(tidy)\n"
        "signal.signal(signal.SIGTERM, interrupt_once)\n"
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
