"""The planner's versions as the proxy uses them: taken up from its folder while it runs."""

import asyncio
import logging
from contextlib import suppress
from pathlib import Path

from mpo_core.config import ProxyConfig
from mpo_core.errors import InputError
from mpo_core.proxy.planners import FILE, Planners, Source, read_planners
from mpo_core.proxy.prompt import planner_prompts
from mpo_core.proxy.writers import Writer, writer_of

log = logging.getLogger(__name__)
POLL_S = 1.0


class Versions:
    """The versions that the proxy's folder names, each with what writes its plans."""

    def __init__(self, config: ProxyConfig, prompts_dir: Path | None = None) -> None:
        self._config, self._prompts_dir = config, prompts_dir
        self._writers: dict[str, tuple[Source, Writer]] = {}
        self._seen: tuple[int, int] | None = None
        self.planners: Planners | None = None

    async def take_up(self) -> None:
        """Use what the folder says.

        Raises:
            InputError: it says nothing, or a version that is in use cannot be; what was used
                before is used still.
        """
        self._seen = self._state()
        planners = await asyncio.to_thread(read_planners, self._config.folder)
        if planners is None:
            raise InputError(f"{self._config.folder / FILE}: no such file; name a planner")
        used = {planners.current, *([planners.canary.version] if planners.canary else [])}
        fresh: dict[str, tuple[Source, Writer]] = {}
        for name, source in planners.versions.items():
            known = self._writers.get(name)
            if known and known[0] == source:
                fresh[name] = known
            elif name in used:
                fresh[name] = source, await self._opened(source)
        # What is replaced may still be writing.
        self._writers, self.planners = fresh, planners

    async def watch(self) -> None:
        """Take up what changes in the folder, until cancelled."""
        while True:
            await asyncio.sleep(POLL_S)
            if self._state() == self._seen:
                continue
            try:
                await self.take_up()
            except Exception as error:
                log.warning("the planners stay as they were: %s", " ".join(str(error).split()))
            else:
                assert self.planners is not None
                log.info("planner %s is current", self.planners.current)

    def writer(self, version: str) -> Writer:
        """What writes the plans of a version that is in use."""
        return self._writers[version][1]

    def writers(self) -> dict[str, Writer]:
        """Version -> its writer, for those that can be used."""
        return {name: writer for name, (_, writer) in self._writers.items()}

    async def close(self) -> None:
        """Let go of connections."""
        for _, writer in self._writers.values():
            await writer.close()

    async def _opened(self, source: Source) -> Writer:
        prompts = planner_prompts(source.env, self._prompts_dir)
        folder = self._config.folder
        writer = await asyncio.to_thread(writer_of, source, folder, prompts, self._config)
        await writer.ready()
        return writer

    def _state(self) -> tuple[int, int] | None:
        with suppress(OSError):
            found = (self._config.folder / FILE).stat()
            return found.st_mtime_ns, found.st_ino
        return None
