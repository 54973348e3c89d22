"""Looking at processes from outside."""

import time

import psutil


def command_line(process: psutil.Process) -> list[str]:
    """Its words; none where it has ended in the meantime."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def descendants(name: str, of: int | None = None) -> list[psutil.Process]:
    """Living processes below `of` (else below this one) whose command line holds `name`."""
    family = psutil.Process(of).children(recursive=True)
    return [process for process in family if name in " ".join(command_line(process))]


def gone(pid: int, within_s: float = 10) -> bool:
    """True once there is no such process, or only its entry for a parent that has not looked."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False
