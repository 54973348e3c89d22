"""How many attempts each plan gets where `scoring.repetitions` is `auto`.

Two batches. In the first every plan is tried once, and some plans, drawn without regard to any
reward, twice: what their two rewards differ by is the noise of an attempt, which single attempts
cannot show. The second goes where one more attempt is expected to do most for telling a task's best
and worst plans; a plan that gains too little by it (`WORTH`) gets none, so that less than the total
may be spent.

**The rule.** The value of n attempts is the expected rise of (true worth of the plan taken for the
best) - (true worth of the plan taken for the worst): the expected value of information of the
two-stage procedures of ranking and selection under linear loss (Gupta and Miescke, J. Stat. Plan.
Inference 54, 1996; Chick and Inoue, Operations Research 49, 2001; knowledge gradient: Frazier,
Powell and Dayanik, SIAM J. Control Optim. 47, 2008), for the best and for the worst arm. It rises
in steps where one attempt decides nothing but three may, so attempts are bought in the batch of
the best value per attempt (Frazier and Powell, Decision Analysis 7, 2010). Plans of all tasks
compete for one total, as the arms of many bandits do (Gabillon et al., NeurIPS 2011). A plan's
worth is taken for normal within its task; its variance and that of an attempt are pooled over tasks
and scaled by m (1 - m), m being the task's expected reward, since rewards lie in [0, 1].

**No bias.** Where a plan's own rewards decide whether it is tried again, its mean reward is biased
(Nie et al., AISTATS 2018; Shin, Ramdas and Rinaldo, NeurIPS 2019): a plan that failed and is given
up keeps its bad luck, one that goes on is averaged. Where single attempts succeed or fail and one
of the two ends the trials, the only unbiased score left is the first reward, however many follow.
So the rule never looks at a plan's own rewards. Plans are parted into folds (place among the task's
plans, half of the tasks); a fold's attempts are decided by the rewards of all other folds, and
compete for the fold's own share of the total (cross-fitting). Hence the number of a plan's attempts
is independent of its rewards: given that number its mean reward is unbiased, and its standard error
is that of any mean. This holds for the score of a given plan; the score of the plan that came out
best is optimistic, as the highest of noisy scores always is.

The price is that a plan cannot be dropped for its own bad start. With few attempts that costs next
to nothing: see `docs/scoring.md`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist, fmean

from mpo_core.exact import exact
from mpo_core.types import Plan, content_hash

REPEATED_SHARE = 0.1
REPEATED_LEAST = 50
"""Plans tried twice from the start: this share of them, and at least so many."""
WORTH = 0.01
"""What an attempt must be expected to gain, in standard deviations of worth between a task's
plans."""
NOISE_AT_MOST = 0.9
"""Share of the variance between a task's rewards that is believed to be noise at most: a few
repeated attempts do not show that plans make no difference."""
STANDARD = NormalDist()
Rewards = Mapping[str, Sequence[float]]
"""Plan id -> its rewards, in the order of its attempts."""


@dataclass(frozen=True)
class Spread:
    """What sets rewards apart, pooled over tasks."""

    mean: float
    """Of the tasks' mean rewards."""
    between_tasks: float
    """Variance of the tasks' expected rewards."""
    within_tasks: float
    """Variance of single rewards of a task's different plans."""
    noise: float
    """Share of `within_tasks` by which attempts of one plan differ."""

    def of_task_mean(self, plans: Sequence[Sequence[float]]) -> float:
        """Variance of the mean of some plans' mean rewards about the task's expected reward."""
        of_plans = (1 - self.noise + self.noise / len(rewards) for rewards in plans)
        return self.within_tasks * sum(of_plans) / len(plans) ** 2


def total_attempts(plans: int, mean_repetitions: float) -> int:
    """Attempts that so many plans get in all, at most."""
    return math.floor(plans * exact(mean_repetitions))


def least_attempts(plans: int, mean_repetitions: float) -> int:
    """Attempts of the first batch, which so many plans get in any case."""
    repeated = min(plans, max(REPEATED_LEAST, math.ceil(REPEATED_SHARE * plans)))
    return min(plans + repeated, total_attempts(plans, mean_repetitions))


def first_attempts(plans: Sequence[Plan], mean_repetitions: float) -> dict[str, int]:
    """Plan id -> attempts of the first batch: one, or two for those drawn to show the noise.

    Args:
        mean_repetitions: attempts of all batches per plan, on average at most; 1 or more.
    """
    attempts = dict.fromkeys((plan.id for plan in plans), 1)
    repeated = least_attempts(len(attempts), mean_repetitions) - len(attempts)
    drawn = sorted(attempts, key=lambda plan_id: content_hash("repeated", plan_id))[:repeated]
    return attempts | dict.fromkeys(drawn, 2)


def all_attempts(
    plans: Sequence[Plan], rewards: Rewards, mean_repetitions: float, max_repetitions: int
) -> dict[str, int]:
    """Plan id -> attempts in all, once the first batch is played.

    Args:
        rewards: those of `first_attempts`, of every plan; further ones are not looked at.
    """
    attempts = first_attempts(plans, mean_repetitions)
    first = {plan_id: tuple(rewards[plan_id][:n]) for plan_id, n in attempts.items()}
    tasks: dict[str, list[str]] = {}
    for plan in {plan.id: plan for plan in plans}.values():
        tasks.setdefault(plan.task_id, []).append(plan.id)
    left = total_attempts(len(attempts), mean_repetitions) - sum(attempts.values())
    begun = 0
    for fold in _folds(tasks):
        # What the folds before have left unspent stays so: it depends on this fold's rewards.
        share = left * (begun + len(fold)) // len(attempts) - left * begun // len(attempts)
        begun += len(fold)
        own = {plan_id for _, plan_id in fold}
        others = {
            task_id: [first[plan_id] for plan_id in of_task if plan_id not in own]
            for task_id, of_task in tasks.items()
        }
        owed = {plan_id: (others[task_id], attempts[plan_id]) for task_id, plan_id in fold}
        for plan_id in _best_bought(owed, spread(list(others.values())), max_repetitions, share):
            attempts[plan_id] += 1
    return attempts


def _folds(tasks: Mapping[str, Sequence[str]]) -> list[list[tuple[str, str]]]:
    """(task id, plan id) of each plan, parted by its place in its task and by half of the tasks."""
    folds: dict[tuple[int, int], list[tuple[str, str]]] = {}
    for number, (task_id, plans) in enumerate(tasks.items()):
        for place, plan_id in enumerate(plans):
            folds.setdefault((place, number % 2), []).append((task_id, plan_id))
    return [fold for _, fold in sorted(folds.items())]


def spread(tasks: Sequence[Sequence[Sequence[float]]]) -> Spread:
    """The variances of rewards: tasks, of each its plans, of each its rewards.

    The noise is that of plans with several rewards and of one more in which all is noise: a few
    that agree by chance do not show that there is none.
    """
    tasks = [plans for plans in tasks if plans]
    single = [[rewards[0] for rewards in plans] for plans in tasks]
    within = sum(map(_squares, single)) / max(sum(len(plans) - 1 for plans in single), 1)
    repeated = [rewards for plans in tasks for rewards in plans if len(rewards) > 1]
    noise = sum(map(_squares, repeated)) + within
    noise /= sum(len(rewards) - 1 for rewards in repeated) + 1
    # First rewards that agree do not differ less than the attempts of one plan do.
    within = max(within, noise)
    means = [fmean(map(fmean, plans)) for plans in tasks]
    pooled = Spread(
        mean=fmean(means) if means else 0.0,
        between_tasks=0.0,
        within_tasks=within,
        noise=noise / within if within else 0.0,
    )
    if len(means) < 2:
        return pooled
    between = _squares(means) / (len(means) - 1) - fmean(map(pooled.of_task_mean, tasks))
    return replace(pooled, between_tasks=max(between, 0.0))


def _squares(values: Sequence[float]) -> float:
    """Sum of the squared differences from the mean."""
    mean = fmean(values)
    return sum((value - mean) ** 2 for value in values)


def _best_bought(
    owed: Mapping[str, tuple[Sequence[Sequence[float]], int]],
    pooled: Spread,
    max_repetitions: int,
    budget: int,
) -> list[str]:
    """A plan's id for each further attempt, those of the highest value first.

    Args:
        owed: plan id -> the rewards of its task's other plans, and its attempts so far.
    """
    if not pooled.within_tasks:
        return []
    noise = min(pooled.noise, NOISE_AT_MOST)
    expected = {plan_id: _expected(others, pooled) for plan_id, (others, _) in owed.items()}
    usual = fmean(mean * (1 - mean) for mean in expected.values())
    least = WORTH * math.sqrt(pooled.within_tasks * (1 - noise))
    offers = []
    for plan_id, (others, begun) in owed.items():
        if not others:
            continue
        mean = expected[plan_id]
        scale = pooled.within_tasks * mean * (1 - mean) / usual
        # The other plans' worth, drawn in from their few rewards to what is expected of them.
        drawn_in = [
            mean + (1 - noise) / (1 - noise + noise / len(rewards)) * (fmean(rewards) - mean)
            for rewards in others
        ]
        gaps = mean - max(drawn_in), min(drawn_in) - mean
        now, at_most = (
            _value((1 - noise) * scale, left, gaps) for left in (noise * scale / begun, 0)
        )
        # No batch that ends later gains `least` an attempt, were there no noise left by then.
        last = min(max_repetitions, begun + math.ceil((at_most - now) / least))
        values = [
            _value((1 - noise) * scale, noise * scale / n, gaps) for n in range(begun, last + 1)
        ]
        # Rounded, and then by the plans' ids: machines that differ in a last bit choose alike.
        offers += [(-round(rate, 9), plan_id) for rate in _rates(values) if rate >= least]
    return [plan_id for _, plan_id in sorted(offers)[:budget]]


def _expected(others: Sequence[Sequence[float]], pooled: Spread) -> float:
    """The reward to expect of a plan by its task's other plans, drawn in to the mean of all."""
    if not others or not pooled.between_tasks:
        return pooled.mean
    reliable = pooled.between_tasks / (pooled.between_tasks + pooled.of_task_mean(others))
    return pooled.mean + reliable * (fmean(map(fmean, others)) - pooled.mean)


def _value(worth: float, noise: float, gaps: Sequence[float]) -> float:
    """Expected gain by a mean reward whose variance about the plan's worth is `noise`.

    Args:
        worth: variance of what the plan may be worth.
        gaps: by how much it is expected to exceed the best of the other plans, and to fall short of
            the worst.
    """
    if not worth:
        return 0.0
    sd = worth / math.sqrt(worth + noise)
    scaled = [gap / sd for gap in gaps]
    return sd * sum(z * STANDARD.cdf(z) + STANDARD.pdf(z) for z in scaled)


def _rates(values: Sequence[float]) -> Iterator[float]:
    """Gain per attempt of each attempt after the first of `values`, in batches of the best rate."""
    begun = 0
    while begun < len(values) - 1:
        rate, end = max(
            ((values[end] - values[begun]) / (end - begun), end)
            for end in range(begun + 1, len(values))
        )
        yield from [rate] * (end - begun)
        begun = end
