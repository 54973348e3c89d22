from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from mpo_core.envs.draw import draw
from mpo_core.types import Task

TASKS = st.lists(
    st.tuples(st.sampled_from("abcd"), st.integers(0, 50)), unique=True, max_size=60
).map(
    lambda pairs: [
        Task(id=f"x/{t}/{n}", env="x", type=t, split="train", variation=n) for t, n in pairs
    ]
)


@given(TASKS)
def test_without_a_limit_nothing_is_left_out(tasks: list[Task]):
    assert draw(tasks, None) == tasks


@given(TASKS, st.integers(0, 70))
def test_a_limit_takes_from_the_types_evenly_and_keeps_the_order(tasks: list[Task], limit: int):
    taken = draw(tasks, limit)
    assert taken == [task for task in tasks if task in taken]
    assert len(taken) == min(limit, len(tasks))
    whole, counts = (Counter(task.type for task in some) for some in (tasks, taken))
    most = max(counts.values(), default=0)
    assert all(counts[name] >= min(most - 1, whole[name]) for name in whole)


@given(TASKS, st.integers(0, 70), st.integers(0, 70))
def test_a_smaller_limit_takes_a_subset(tasks: list[Task], some: int, others: int):
    few, many = sorted((some, others))
    assert {t.id for t in draw(tasks, few)} <= {t.id for t in draw(tasks, many)}


@given(TASKS, st.integers(0, 70), st.randoms())
def test_a_type_s_tasks_are_drawn_in_the_same_order_wherever_they_lie(tasks, limit, random):
    of_type = [task for task in tasks if task.type == "a"]
    shuffled = random.sample(of_type, len(of_type))
    assert {t.id for t in draw(shuffled, limit)} == {t.id for t in draw(of_type, limit)}
