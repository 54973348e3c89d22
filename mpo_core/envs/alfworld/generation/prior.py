"""Where things are likely to be: the numbers of prior.yaml, sharpened or flattened by a power."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

PRIOR_FILE = Path(__file__).with_name("prior.yaml")


@dataclass(frozen=True)
class Prior:
    """prior.yaml; see its head for what the numbers mean."""

    elsewhere: float
    places: Mapping[str, Mapping[str, Mapping[str, float]]]
    """Room kind -> object kind -> receptacle kind -> weight."""
    standing: Mapping[str, Mapping[str, float]]
    room_for: Mapping[str, int]
    fixtures: Mapping[str, int]

    def weights(self, room: str, thing: str, kinds: Iterable[str], power: float) -> list[float]:
        """How likely each of these receptacle kinds holds the thing; the greatest is 1."""
        named = self.standing.get(thing) or self.places[room][thing]
        weights = [named.get(kind, self.elsewhere) for kind in kinds]
        greatest = max(weights)
        return [(weight / greatest) ** power for weight in weights]


@cache
def prior() -> Prior:
    return Prior(**yaml.safe_load(PRIOR_FILE.read_text(encoding="utf-8")))
