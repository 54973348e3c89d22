"""How a command ends: exit code 0 when it is done, 2 for bad input, 130 when interrupted, 1 for
anything else. What is no bug of ours ends in one line on stderr."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from mpo_core.errors import (
    OF_THE_WORLD,
    EnvironmentLost,
    InputError,
    ModelUnavailable,
    remedy,
)
from mpo_core.inert import inert

FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130
GOES_ON = "what was done is kept, the same command goes on from there"


@contextmanager
def one_line_exits() -> Iterator[None]:
    """Ends the process with one line and a code for what the caller or the world has to mend."""
    try:
        yield
    except InputError as error:
        fail(str(error), BAD_INPUT)
    except (ModelUnavailable, EnvironmentLost) as error:
        fail(f"{error}; {GOES_ON}", FAILED)
    except SystemExit as end:
        if end.code != INTERRUPTED:
            raise
        fail(f"interrupted; {GOES_ON}", INTERRUPTED)
    except OSError as error:
        # A full disk, or a folder that is not one's own, shows wherever something is written.
        if error.errno not in OF_THE_WORLD:
            raise
        fail(f"{error.filename or 'disk'}: {error.strerror}; {remedy(error)}", BAD_INPUT)


def fail(message: str, code: int) -> NoReturn:
    """End the process with one line on stderr."""
    print(f"mpo: error: {inert(' '.join(message.split()))}", file=sys.stderr)
    sys.exit(code)
