"""Where the suite keeps what it can make again: built-in models, generated games, translations."""

import os
from pathlib import Path


def default_cache() -> Path:
    """The suite's cache folder: `MPO_CACHE`, else ~/.cache/mpo."""
    return Path(os.environ.get("MPO_CACHE") or Path.home() / ".cache" / "mpo")
