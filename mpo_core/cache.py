"""Where the suite keeps what it can make again: built-in models, generated games, translations."""

import os
import pwd
import secrets
import tempfile
from pathlib import Path

from mpo_core.errors import InputError
from mpo_core.files import whole
from mpo_core.paths import at_home

RAY_TOKEN = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE")
USER_NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME")


def default_cache() -> Path:
    """The suite's cache folder: `MPO_CACHE`, else ~/.cache/mpo.

    Raises:
        InputError: neither is known.
    """
    given = os.environ.get("MPO_CACHE")
    if given:
        return at_home(given)
    home = _home()
    if home is None:
        raise InputError(
            "this user has no home folder (HOME is not set); set MPO_CACHE to a folder that can "
            "be written"
        )
    return home / ".cache" / "mpo"


def unwritable(folder: Path, error: OSError) -> InputError:
    """What to raise where the cache cannot take what it must hold."""
    return InputError(
        f"{folder}: cannot be written ({error.strerror}); set MPO_CACHE to a folder that can"
    )


def settle_libraries() -> None:
    """Let libraries keep their things in `MPO_CACHE` where this user's home cannot be written.

    It holds for this process and for those that it starts. A home that can be read stays: models,
    tokens and settings in it are found.
    """
    if not os.environ.get("HOME", "home"):
        del os.environ["HOME"]
    if _entry() is None and not any(os.environ.get(name) for name in USER_NAMES):
        # Python's libraries ask for a user's name, torch for a folder's among others.
        os.environ["USER"] = f"uid{os.getuid()}"
    given, home = os.environ.get("MPO_CACHE"), _home()
    if not given or (home is not None and _writable(home)):
        return
    cache = at_home(given).absolute()
    folder = cache / "libraries"
    settings = {
        "XDG_CACHE_HOME": folder,
        "XDG_CONFIG_HOME": folder / "config",
        "XDG_DATA_HOME": folder / "share",
        "MPLCONFIGDIR": folder / "matplotlib",
        "TORCHINDUCTOR_CACHE_DIR": folder / "torchinductor",
        "CUDA_CACHE_PATH": folder / "cuda",
        "TRITON_HOME": folder,
        "FLASHINFER_WORKSPACE_BASE": folder,
    }
    if home is not None and (models := home / ".cache" / "huggingface").is_dir():
        settings["HF_HOME"] = models
    for name, place in settings.items():
        os.environ.setdefault(name, str(place))
    if home is None or not home.is_dir():
        os.environ["HOME"] = str(cache / "home")
    elif not (home / ".ray" / "auth_token").exists() and not any(map(os.environ.get, RAY_TOKEN)):
        # Ray writes one there for each new cluster of its own, and has no other place for it.
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def keep(path: Path, content: bytes) -> None:
    """Write a file of the cache whole under its name, whoever else does so at the same time.

    Raises:
        OSError: it cannot be written; nothing of it stays.
    """
    with whole(path) as partial:
        partial.write_bytes(content)
        # A cache may be a group's: others read what one has made.
        partial.chmod(0o644)


def _writable(home: Path) -> bool:
    place = home / ".cache"
    try:
        # What a file system says of permissions is not all that it may refuse.
        with tempfile.TemporaryFile(dir=place if place.is_dir() else home):
            return True
    except OSError:
        return False


def _home() -> Path | None:
    if os.environ.get("HOME"):
        return Path(os.environ["HOME"])
    entry = _entry()
    return Path(entry.pw_dir) if entry else None


def _entry() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(os.getuid())
    except KeyError:
        return None
