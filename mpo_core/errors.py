"""The few errors of the suite, each named after the boundary that was crossed.

Only `InputError` is the user's to mend: the command line prints it as one line and exits with 2.
The others are caught where there is a recovery. Anything else is a bug and keeps its traceback.
"""

import errno


class InputError(Exception):
    """Bad input: the message says what is wrong, where, and what to do about it, in one line."""


class ModelUnavailable(Exception):
    """A model server did not answer within its retries. Never becomes a reward."""


class ContextFull(Exception):
    """The prompt no longer fits the model's context. Ends an episode as data."""


class EnvironmentLost(Exception):
    """The process behind an environment died, hung or was recycled: run the episode again."""


FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
IN_THE_WAY = {errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENOENT}
OF_THE_WORLD = FULL | FORBIDDEN | {errno.ENAMETOOLONG, errno.EMFILE, errno.ENFILE, errno.ESTALE}
"""What the operating system refuses because of where a run is, not because of a bug."""


def remedy(error: OSError) -> str:
    """What to do about what the operating system refused."""
    if error.errno in FULL:
        return "free some space and run the same command again, it goes on from here"
    if error.errno in FORBIDDEN:
        return "let its owner give you access, or use another folder"
    if error.errno in IN_THE_WAY:
        return "a file, a folder or a link that leads nowhere is in the way; use another folder"
    return "mend that and run the same command again, it goes on from here"
