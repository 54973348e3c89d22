"""What the agent learns from: dialogues in the suite's own protocol, as tokens with weights.

Each is of a new game, under a plan of any kind in any wording, in any of the three plan modes or
without a plan; what is right to do is the follower's word. Half of the follower's own episodes hold
some random actions, which are not learned, so that the agent learns to go on after mistakes.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache

from mpo_core.envs.base import Reset
from mpo_core.prompts import Prompts, load_prompts
from mpo_core.sandbox import prose
from mpo_core.sandbox.faults import POOR, drawn, spoiled
from mpo_core.sandbox.follower import Follower
from mpo_core.sandbox.games import CHANGES, Game, kind
from mpo_core.sandbox.knowledge import best
from mpo_core.sandbox.plans import PlanSpec
from mpo_core.sandbox.simulator import Episode
from mpo_core.sandbox.vocabulary import ACTION, BOT, END, USER, tokenizer, words
from mpo_core.sandbox.wording import NONSENSE, write
from mpo_core.types import PlanMode

POWER = 2.0
"""Exponent of the prior that games are drawn with: things lie where they belong."""
STEPS = 16
OTHER = 0.1
"""The weight of every token that is no action."""
NOISE = 0.05
VARIED = 0.6
IDLE = "look"
"""What the agent does once the plan has nothing more that can be done."""
PROSE = 0.45
"""Share of the plans that are in a person's words, as against the suite's."""
WITHOUT_PLAN, POOR_PLAN, NO_SENSE = 0.12, 0.08, 0.02
MODES: tuple[PlanMode, ...] = ("query", "query", "query", "observation", "thought")


@dataclass(frozen=True)
class Setting:
    """A game, and what the agent is told beside it."""

    game: Game
    plan: PlanSpec | None
    """What is to be followed; None also for a plan that makes no sense at all."""
    text: str | None
    """The plan's words."""
    mode: PlanMode = "query"


@dataclass
class Row:
    """A dialogue's tokens, the weight of each in the loss, and where its decisions begin."""

    tokens: list[int]
    weights: list[float]
    decisions: list[tuple[int, str]] = field(default_factory=list)
    """Position of the first token of an action to learn, and the decision's kind."""


def setting(game: Game, rng: random.Random) -> Setting:
    """A game to learn from: varied in most cases, under some plan."""
    if rng.random() < VARIED:
        game = varied(game, rng)
    mode, chance = rng.choice(MODES), rng.random()
    if chance < WITHOUT_PLAN:
        return Setting(game, None, None)
    chance -= WITHOUT_PLAN
    if chance < NO_SENSE:
        lines = rng.sample(NONSENSE, rng.randint(1, 4))
        text = "\n".join(f"Step {n}: {line.capitalize()}." for n, line in enumerate(lines, 1))
        return Setting(game, None, text, mode)
    if chance - NO_SENSE < POOR_PLAN:
        faults = [fault for fault in POOR if rng.random() < 0.75]
        plan = spoiled(best(game, POWER), game, faults, rng.getrandbits(32))
    else:
        plan = drawn(game, rng, POWER)
    if rng.random() < PROSE:
        text = prose.write(plan, rng)
    else:
        text = write(plan, rng if rng.random() < 0.75 else None)
    return Setting(game, plan if plan.sense.steps else None, text, mode)


def varied(game: Game, rng: random.Random) -> Game:
    """The game with other numbers of places of most kinds, so that nothing is learned by heart."""
    places: dict[str, int] = {}
    types: dict[str, str] = {}
    moved: dict[str, str] = {}
    for what in game.kinds:
        own = [place for place in game.places if kind(place) == what]
        count = len(own) if rng.random() < 0.4 else rng.randint(1, min(24, 2 * len(own) + 1))
        names = [f"{what} {number}" for number in range(count, 0, -1)]
        for name in names:
            free = len(game.places) + len(places)
            places[name] = game.places.get(name, free)
            types[name] = game.types.get(name, game.types[own[-1]])
        moved |= {place: rng.choice(names) for place in own}
    things = {thing: moved[place] for thing, place in game.things.items()}
    return replace(game, places=places, types=types, things=things)


class Dialogue:
    """An episode's tokens, as tokenizer and chat template make them of the suite's messages."""

    def __init__(self, given: Setting, start: Reset) -> None:
        text, mode = given.text, given.mode
        told = prompts().opening(start.instruction, start.observation, text, mode, thoughts=False)
        self.tokens = [_id(USER), *ids(told[0]["content"])]
        self._prefix = [_id(BOT), *ids(prompts().reply_prefix(text, mode))]
        self._begun = False

    @property
    def prefix(self) -> list[int]:
        """What the next reply begins with. A plan in it is not told again in later turns."""
        return self._prefix

    def said(self, action: Sequence[int]) -> int:
        """Append an action's tokens; the position of the first."""
        self.tokens += self._prefix if not self._begun else [_id(BOT)]
        self._begun = True
        at = len(self.tokens)
        self.tokens += [*action, _id(END)]
        return at

    def heard(self, observation: str) -> None:
        told = prompts().observation(observation, None, "query")
        self.tokens += [_id(USER), *ids(told)]

    def asking(self, action: Sequence[int]) -> tuple[list[int], int]:
        """The dialogue with one more reply as the agent is asked for it, and where it begins."""
        tokens = [*self.tokens, *self._prefix]
        return [*tokens, *action, _id(END)], len(tokens)


def followed(given: Setting, rng: random.Random, noise: float = 0.0) -> Row:
    """An episode of the follower's, with a share of random actions that are not learned.

    In thought mode it ends at some turn, which begins with the plan as the agent's reply would.
    """
    episode = Episode(given.game)
    start = episode.reset()
    follower = Follower(start.instruction, start.observation, given.plan)
    dialogue = Dialogue(given, start)
    decisions: list[tuple[int, str]] = []
    unlearned: list[tuple[int, str]] = []
    last = rng.randint(2, STEPS) if given.mode == "thought" and given.text else STEPS
    idle, turn = 0, 0
    while True:
        turn += 1
        wanted = follower.act()
        idle = idle + 1 if wanted is None else 0
        action, learned = wanted or IDLE, rng.random() >= noise
        what = decision(follower, given, action)
        if turn == last < STEPS:
            tokens, at = dialogue.asking(spoken(action))
            return _row(tokens, [*decisions, (at, what)], unlearned)
        if not learned:
            action = noisy(given.game, follower.here, action, rng)
        at = dialogue.said(spoken(action))
        (decisions if learned else unlearned).append((at, what))
        step = episode.step(action)
        if step.done or idle == 2 or turn == STEPS:
            return _row(dialogue.tokens, decisions, unlearned)
        follower.see(action, step.observation)
        dialogue.heard(step.observation)


def noisy(game: Game, here: str, action: str, rng: random.Random) -> str:
    """Some other action."""
    chance = rng.random()
    if chance < 0.7 or not here:
        return f"go to {rng.choice(list(game.places))}"
    if chance < 0.9:
        return f"{'examine' if chance < 0.8 else 'open'} {here}"
    return f"{action.rpartition(' ')[0] or action} {rng.randint(1, 5)}"


def decision(follower: Follower, given: Setting, action: str) -> str:
    """The kind of decision that an action is, for the record."""
    here = follower.here
    if not action.startswith("go to "):
        verb = action.partition(" ")[0]
        return "change" if verb in CHANGES else verb
    if follower.holds:
        return "go, lamp" if given.game.goal.lamp else "go, carrying"
    if not here:
        return "go, first"
    if kind(here) == kind(action.removeprefix("go to ")):
        return "go, same kind"
    return "go, next kind" if given.plan else "go, next kind, no plan"


def _row(
    tokens: list[int], decisions: list[tuple[int, str]], unlearned: list[tuple[int, str]]
) -> Row:
    weights = [OTHER] * len(tokens)
    for weight, starts in ((1.0, decisions), (0.0, unlearned)):
        for at, _ in starts:
            end = tokens.index(_id(END), at)
            weights[at : end + 1] = [weight] * (end + 1 - at)
    return Row(tokens, weights, decisions)


def labelled(
    tokens: list[int], decisions: list[tuple[int, str]], mistakes: list[tuple[int, str]]
) -> Row:
    """An episode of the agent's own: what it did right is learned, its mistakes are not."""
    return _row(tokens, decisions, mistakes)


def corrected(before: Sequence[int], right: Sequence[int], what: str) -> Row:
    """An episode of the agent's own up to a mistake, with the tokens of what was right in its
    place."""
    row = _row([*before, *right, _id(END)], [(len(before), what)], [])
    # What came before is learned from the episode itself.
    row.weights[: len(before)] = [0.0] * len(before)
    return row


def spoken(action: str) -> tuple[int, ...]:
    """The tokens of an action, as the agent says it."""
    return ids(f"{ACTION} {action}")


@lru_cache(200_000)
def ids(text: str) -> tuple[int, ...]:
    return tuple(tokenizer().encode(text, add_special_tokens=False).ids)


@cache
def prompts() -> Prompts:
    return load_prompts("alfworld")


@cache
def _id(word: str) -> int:
    return words().index(word)
