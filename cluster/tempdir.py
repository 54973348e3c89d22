"""A short name for a long temporary folder.

Ray, vLLM and Python's multiprocessing keep Unix sockets in the temporary folder, and the path of
such a socket has at most 107 bytes. A job's folder on a cluster may be longer than what is left.
Reached by a link with a short name, it serves all the same.
"""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from mpo_core.errors import InputError

SOCKET_PATH = 107
# Ray's socket of the longest name, below the temporary folder.
RAY_SOCKET = "/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
LONGEST = SOCKET_PATH - len(RAY_SOCKET)
# Where a link may stand: in the first of these that can be written.
SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")


def shorten_temporary_folders() -> Callable[[], None]:
    """Let RAY_TMPDIR and TMPDIR be short in this process and those that it starts.

    Returns:
        What undoes it.

    Raises:
        InputError: a folder is too long and no short name for it can be made.
    """
    folders = {variable: os.environ.get(variable, "") for variable in ("RAY_TMPDIR", "TMPDIR")}
    # Ray's processes run elsewhere than this one: a relative path needs another name, too.
    long = {
        variable: folder
        for variable, folder in folders.items()
        if folder and (len(os.fsencode(folder)) > LONGEST or not os.path.isabs(folder))
    }
    if not long:
        return lambda: None
    links = _folder_for_links(next(iter(long)))
    for variable, folder in long.items():
        link = links / variable[0].lower()
        try:
            os.makedirs(folder, exist_ok=True)
            link.symlink_to(Path(folder).absolute())
        except OSError as error:
            shutil.rmtree(links, ignore_errors=True)
            raise InputError(f"{variable}: {folder}: {error.strerror}") from error
        os.environ[variable] = str(link)
    # Python remembers the folder that it once found.
    tempfile.tempdir = None

    def undo() -> None:
        os.environ.update(long)
        tempfile.tempdir = None
        shutil.rmtree(links, ignore_errors=True)

    return undo


def _folder_for_links(variable: str) -> Path:
    candidates = [*SHORT_FOLDERS, os.environ.get("XDG_RUNTIME_DIR", "")]
    for folder in candidates:
        # The link's name goes on with a folder of its own, such as /mpo-abcd1234/t.
        if folder and len(os.fsencode(folder)) + len("/mpo-abcd1234/t") <= LONGEST:
            try:
                return Path(tempfile.mkdtemp(prefix="mpo-", dir=folder))
            except OSError:
                continue
    raise InputError(
        f"{variable}: longer than {LONGEST} bytes, too long for Ray's sockets, and no shorter name "
        f"can be made in {', '.join(filter(None, candidates))}; set RAY_TMPDIR and TMPDIR to a "
        "folder with a shorter path"
    )
