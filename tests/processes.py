"""Looking at processes from outside."""

import time

import psutil


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
