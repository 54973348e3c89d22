"""The folder of an engine's published adapters: which versions there are, and under which names.

A version is a folder in it, or a link to one in it: `mpo` to the fingerprint of its weights. A name
comes from whoever can reach the server, so it is never a path: it must be plain, and what it names
must lie in the folder with all that belongs to it, wherever links lead.
"""

import os
import re
from pathlib import Path

CONFIG = "adapter_config.json"
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def published(root: Path | None) -> dict[str, Path]:
    """The versions in a folder of adapters by name, each with its own folder, links followed."""
    if root is None or not root.is_dir():
        return {}
    found = {entry.name: version_folder(root, entry.name) for entry in sorted(root.iterdir())}
    return {name: folder for name, folder in found.items() if folder}


def version_folder(root: Path, version: str) -> Path | None:
    """Where a version's weights lie; None where the folder of adapters holds no such version."""
    if not PLAIN.fullmatch(version):
        return None
    top, folder = _target(root), _target(root / version)
    # Directly in it, so that its name is a version's too.
    plain = folder.parent == top and PLAIN.fullmatch(folder.name)
    if not plain or not (folder / CONFIG).is_file():
        return None
    within = all(_target(file).is_relative_to(folder) for file in folder.iterdir())
    return folder if within else None


def _target(path: Path) -> Path:
    """Where links lead. Unlike `Path.resolve`, no error for those that lead in a circle."""
    return Path(os.path.realpath(path))


def link(root: Path, name: str, version: str) -> None:
    """Give a version of the folder a second name, which may have been another version's."""
    if not PLAIN.fullmatch(name):
        raise ValueError(f"{name!r} is not a plain name")
    temporary = root / f".{name}.tmp"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(version, target_is_directory=True)
    temporary.replace(root / name)
