"""Episodes in the formats of other tools: ATIF, OpenTelemetry, inspect_ai, Hugging Face.

    from mpo_core.interchange import Played, write_episodes

    told = {task.id: task for task in tasks}
    played = (Played.of(episode, told[episode.task_id]) for episode in episodes)
    write_episodes("atif", played, Path("trajectories"))

Each format is a module that turns a `Played` into plain values, and writes an iterable of them as
it comes: one episode is in memory at a time, and a few figures of each. `docs/export.md` says where
every field of an episode goes.
"""

from mpo_core.interchange.played import Exchange, Played, conversation
from mpo_core.interchange.write import FORMATS, Format, check_out, write_episodes

__all__ = ["FORMATS", "Exchange", "Format", "Played", "check_out", "conversation", "write_episodes"]
