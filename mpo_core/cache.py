"""Where the suite keeps what it can make again: built-in models, generated games, translations."""

import os
import tempfile
from pathlib import Path


def default_cache() -> Path:
    """The suite's cache folder: `MPO_CACHE`, else ~/.cache/mpo."""
    return Path(os.environ.get("MPO_CACHE") or Path.home() / ".cache" / "mpo")


def keep(path: Path, content: bytes) -> None:
    """Write a file of the cache whole under its name, whoever else does so at the same time.

    Raises:
        OSError: it cannot be written; nothing of it stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
        try:
            file.write(content)
            file.close()
            # A cache may be a group's: others read what one has made.
            os.chmod(file.name, 0o644)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise
