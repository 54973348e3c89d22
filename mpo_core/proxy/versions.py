"""The planner's versions as the proxy uses them: taken up from its folder while it runs."""

import asyncio
import logging
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mpo_core.config import ProxyConfig
from mpo_core.errors import InputError, ModelUnavailable
from mpo_core.proxy.planners import FILE, Planners, Source, read_planners
from mpo_core.proxy.prompt import planner_prompts
from mpo_core.proxy.writers import Writer, writer_of

log = logging.getLogger(__name__)
POLL_S = 1.0
LONGEST_WAIT_S = 60.0
"""Between two tries of what cannot be taken up."""
Stamp = tuple[int, int, int] | None
"""What tells a file from what it was before."""


@dataclass(frozen=True)
class Opened:
    """A version whose plans can be had."""

    source: Source
    stamp: Stamp
    """Of its file of plans, when that was read."""
    writer: Writer


class Versions:
    """The versions that the proxy's folder names, each with what writes its plans."""

    def __init__(self, config: ProxyConfig, prompts_dir: Path | None = None) -> None:
        self._config, self._prompts_dir = config, prompts_dir
        self._opened: dict[str, Opened] = {}
        self._seen: dict[Path, Stamp] = {}
        """What was found at the last try: `planners.json`, and the files of plans in use."""
        self._fault, self._wait_s, self._again_at = "", 0.0, 0.0
        self.known: Planners | None = None
        """What the folder says, as far as it could be taken up; None before it ever could."""

    @property
    def planners(self) -> Planners:
        """What the folder says. Raises InputError before it could be taken up."""
        if self.known is None:
            raise InputError(f"no planner can be used yet: {self._fault}")
        return self.known

    async def begin(self) -> None:
        """Take up what the folder says. Where that cannot be, the proxy answers without plans until
        it can: a planner never costs an answer."""
        try:
            await self.take_up()
        except Exception as error:
            self._note(error)

    async def take_up(self) -> list[str]:
        """Use what the folder says; returns the versions that are opened anew.

        Raises:
            InputError: it says nothing, or a version that is in use cannot be; what was used
                before is used still.
        """
        path = self._config.folder / FILE
        self._seen = {path: _stamp(path)}
        planners = await asyncio.to_thread(read_planners, self._config.folder)
        if planners is None:
            raise InputError(f"{path}: no such file; name a planner")
        opened: dict[str, Opened] = {}
        for name, source in planners.versions.items():
            before = self._opened.get(name)
            same = before if before and before.source == source else None
            if name not in planners.used:
                opened |= {name: same} if same else {}
                continue
            stamp = self._look_at(source)
            opened[name] = same if same and same.stamp == stamp else await self._open(source, stamp)
        anew = [name for name in opened if opened[name] is not self._opened.get(name)]
        # What is replaced may still be writing.
        self._opened, self.known = opened, planners
        return anew

    async def watch(self) -> None:
        """Take up what changes in the folder, until cancelled; say so, a line for each change."""
        while True:
            await asyncio.sleep(POLL_S)
            if self._has_changed() or (self._fault and time.monotonic() >= self._again_at):
                await self._take_up_anew()

    def writer(self, version: str) -> Writer:
        """What writes the plans of a version. Raises ModelUnavailable for one that is not in use
        any more."""
        if version not in self._opened:
            raise ModelUnavailable(f"planner {version} is not in use")
        return self._opened[version].writer

    def writers(self) -> dict[str, Writer]:
        """Version -> its writer, for those that can be used."""
        return {name: opened.writer for name, opened in self._opened.items()}

    async def close(self) -> None:
        """Let go of connections."""
        for opened in self._opened.values():
            await opened.writer.close()

    async def _take_up_anew(self) -> None:
        before, mended = self.known, bool(self._fault)
        try:
            anew = await self.take_up()
        except Exception as error:
            self._note(error)
            return
        self._fault, self._wait_s = "", 0.0
        for line in changes(before, self.planners, anew):
            log.info(line)
        if mended and not anew and before == self.known:
            log.info("%s can be used again: %s writes the plans", FILE, self.planners.current)
        for name in anew:
            if pace := await self._opened[name].writer.pace():
                log.info("planner %s %s", name, pace)

    def _note(self, error: Exception) -> None:
        """Say what is wrong, once, and try again later and later: it may be on its way."""
        fault = " ".join(str(error).split()) or type(error).__name__
        if fault != self._fault:
            kept = "the planners stay as they were" if self.known else "no conversation gets a plan"
            log.warning("%s: %s", kept, fault)
            self._wait_s = 0.0
        self._wait_s = min(max(2 * self._wait_s, POLL_S), LONGEST_WAIT_S)
        self._fault, self._again_at = fault, time.monotonic() + self._wait_s

    def _has_changed(self) -> bool:
        return any(_stamp(path) != stamp for path, stamp in self._seen.items())

    async def _open(self, source: Source, stamp: Stamp) -> Opened:
        prompts = planner_prompts(source.env, self._prompts_dir)
        folder = self._config.folder
        writer = await asyncio.to_thread(writer_of, source, folder, prompts, self._config)
        await writer.ready()
        return Opened(source, stamp, writer)

    def _look_at(self, source: Source) -> Stamp:
        if source.plans is None:
            return None
        path = self._config.folder / source.plans
        self._seen[path] = _stamp(path)
        return self._seen[path]


def changes(before: Planners | None, now: Planners, anew: Collection[str]) -> list[str]:
    """What is to be said where a proxy takes up what its folder says, a line for each change.

    Args:
        before: what was in use; None where nothing was.
        anew: versions that were opened, some of which may have been in use from elsewhere.
    """
    was, canary = (before.current, before.canary) if before else ("", None)
    said = []
    if canary and canary.version == now.current:
        said.append(f"{now.current} is promoted: all new conversations get its plans, not {was}'s")
    elif now.current != was:
        instead = f", not {was}'s" if was else ""
        said.append(f"takes up planner {now.current}: new conversations get its plans{instead}")
    elif now.current in anew:
        said.append(f"takes up planner {now.current} from what it comes from anew")
    if canary and canary.version not in now.used:
        said.append(f"{canary.version} is withdrawn: new conversations get none of its plans")
    share = f"a share of {now.canary.share:g} of the new conversations" if now.canary else ""
    if now.canary and (canary is None or canary.version != now.canary.version):
        said.append(f"takes up {now.canary.version} as canary: {share} get its plans")
    elif now.canary and canary != now.canary:
        said.append(f"canary {now.canary.version}: {share} get its plans")
    elif now.canary and now.canary.version in anew:
        said.append(f"takes up canary {now.canary.version} from what it comes from anew")
    if before and not said and before != now:
        said.append(f"{FILE} is read again: {now.current} writes the plans")
    return said


def _stamp(file: Path) -> Stamp:
    with suppress(OSError):
        found = file.stat()
        return found.st_mtime_ns, found.st_ino, found.st_size
    return None
