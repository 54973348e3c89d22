"""The sandbox's small Llama, its training rows and its play, without a long training."""

import random
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mpo_core.errors import InputError
from mpo_core.sandbox import rows as of_rows
from mpo_core.sandbox.agent import accuracy, lessons, play, under
from mpo_core.sandbox.folder import load, write
from mpo_core.sandbox.games import Game, games, kind
from mpo_core.sandbox.gate import Verdict, gate, wilson
from mpo_core.sandbox.knowledge import best
from mpo_core.sandbox.llama import Llama, Sampler, Shape
from mpo_core.sandbox.measure import PLANNERS
from mpo_core.sandbox.measure import play as follow
from mpo_core.sandbox.rows import OTHER, Row, Setting, followed, setting, spoken, varied
from mpo_core.sandbox.train import Budget, Standing, learn, made_optimizers, train
from mpo_core.sandbox.vocabulary import BOT, END, tokenizer, words
from tests.thoroughness import examples

SMALL = Shape(len(words()), width=32, layers=2, heads=2, feedforward=64, context=512)
EOS = words().index(END)
GAMES = st.builds(Game.drawn, st.integers(0, 2**32), st.just("train"), st.integers(0, 3000))


@pytest.fixture
def model() -> Llama:
    torch.manual_seed(0)
    made = Llama(SMALL)
    for weight in made.parameters():
        # Far from ties, so that the likeliest token is the same in every order of sums.
        weight.data *= 5
    return made.eval()


def rows(count: int, seed: int = 0, noise: float = 0.0) -> list[Row]:
    rng = random.Random(seed)
    return [followed(setting(game, rng), rng, noise) for game in games(seed, "train", count, 2.0)]


def test_transformers_reads_the_folder_as_the_same_model(model: Llama, tmp_path: Path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    write(model, tmp_path, "a card")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    ours, ids = load(tmp_path), torch.tensor([rows(1)[0].tokens])
    assert type(theirs).__name__ == "LlamaForCausalLM"
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, ours(ids), rtol=1e-4, atol=1e-4)
    read = AutoTokenizer.from_pretrained(tmp_path)
    assert read.eos_token_id == theirs.generation_config.eos_token_id == EOS
    assert read.encode("Action: go to desk 1") == list(spoken("go to desk 1"))
    assert (tmp_path / "README.md").read_text() == "a card"


def test_sampling_says_what_transformers_generates(model: Llama, tmp_path: Path):
    from transformers import AutoModelForCausalLM

    write(model, tmp_path, "")
    theirs, ours = (
        AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32),
        load(tmp_path),
    )
    prompts = [row.tokens[: 20 + 11 * n] for n, row in enumerate(rows(6))]
    sampler = Sampler(ours, len(prompts))
    sampler.feed([prompt[:5] for prompt in prompts])
    sampler.feed([prompt[5:] for prompt in prompts])
    for prompt, said in zip(prompts, sampler.say(EOS, 9), strict=True):
        generated = theirs.generate(torch.tensor([prompt]), max_new_tokens=9, do_sample=False)
        new = generated[0, len(prompt) :].tolist()
        assert said == (new[: new.index(EOS)] if EOS in new else new)


@pytest.mark.parametrize("mode", ["query", "observation", "thought"])
def test_at_play_the_agent_says_what_the_whole_dialogue_makes_it_say(model: Llama, mode: str):
    played = play(model, under(PLANNERS["best general"], list(games(0, "train", 5)), 1, mode), 6)
    for episode in played:
        tokens, prefix = episode.dialogue.tokens, episode.dialogue.prefix
        assert len(episode.actions) == 6
        for decision, action in zip(episode.decisions, episode.actions, strict=True):
            said = tokens[decision.at : tokens.index(EOS, decision.at)]
            assert tokenizer().decode(said).removeprefix("Action:").strip() == action
            ids = [*tokens[: decision.before], *prefix, *said]
            with torch.no_grad():
                likeliest = model(torch.tensor([ids]))[0].argmax(-1).tolist()
            assert likeliest[-len(said) - 1 : -1] == said


def test_sampling_at_a_temperature_follows_from_the_seed(model: Llama):
    tables = under(PLANNERS["none"], list(games(0, "train", 4)))
    one, same, other = (
        [e.actions for e in play(model, tables, 3, temperature=1.0, generator=seeded(n))]
        for n in (1, 1, 2)
    )
    assert one == same != other


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_rows_learn_what_the_follower_does_and_nothing_that_is_random(noise: float):
    for row in rows(60, 1, noise):
        assert len(row.tokens) == len(row.weights) < 700
        starts = [n + 1 for n, token in enumerate(row.tokens) if token == words().index(BOT)]
        learned = 0
        for at, _ in row.decisions:
            end = row.tokens.index(EOS, at)
            assert set(row.weights[at : end + 1]) == {1.0}
            learned += end + 1 - at
        assert row.weights.count(1.0) == learned
        assert set(row.weights) <= ({1.0, OTHER, 0.0} if noise else {1.0, OTHER})
        assert len(row.decisions) == len(starts) or noise


def test_what_is_learned_is_the_followers_play():
    for game in games(3, "train", 30, 2.0):
        plan = best(game, 2.0)
        given = Setting(game, plan, "Step 1: Win.")
        row = followed(given, random.Random(0))
        won, count = follow(game, plan, of_rows.STEPS)
        assert len(row.decisions) == (count if won else of_rows.STEPS)
        assert all(weight in (1.0, OTHER) for weight in row.weights)


def test_a_thought_plan_is_told_at_the_beginning_and_again_where_the_row_ends():
    plan_mark, seen = words().index("_plan_"), set()
    for number, game in enumerate(games(5, "train", 30)):
        given = Setting(game, best(game), "Step 1: Look for it.", "thought")
        row = followed(given, random.Random(number))
        replies = bytes(token == words().index(BOT) for token in row.tokens)
        told = [n for n, token in enumerate(row.tokens) if token == plan_mark]
        first, last = replies.index(1), replies.rindex(1)
        assert told in ([first + 1], [first + 1, last + 1])
        seen.add(len(told))
    assert 2 in seen


def test_settings_are_of_every_sort_and_follow_from_the_seed():
    def made(seed: int) -> list[Setting]:
        rng = random.Random(seed)
        return [setting(game, rng) for game in games(0, "train", 300)]

    settings_ = made(0)
    assert settings_ == made(0) != made(1)
    assert {given.mode for given in settings_} == {"query", "observation", "thought"}
    assert 15 < sum(given.text is None for given in settings_) < 60
    assert any(given.text and not given.plan for given in settings_)
    assert len({given.text for given in settings_}) > 200


@examples(60)
@given(GAMES, st.randoms(use_true_random=False))
def test_a_varied_game_is_a_game_that_can_be_won(game: Game, rng):
    other = varied(game, rng)
    assert other.kinds == game.kinds
    assert set(other.things.values()) <= set(other.places) == set(other.types)
    for what in other.kinds:
        own = [place for place in other.places if kind(place) == what]
        assert own == [f"{what} {number}" for number in range(len(own), 0, -1)]
    assert follow(other, best(other), 300)[0]
    assert follow(other, None, 300)[0]


def test_own_episodes_teach_what_was_right_and_what_should_have_been_done(model: Llama):
    played = play(model, under(PLANNERS["best general"], list(games(0, "train", 6))), 4, patience=3)
    assert max(len(episode.actions) for episode in played) == 3
    taught = lessons(played, random.Random(0), branches=99)
    made = sum(len(episode.decisions) for episode in played)
    wrong = [d for episode in played for d in episode.decisions if not d.right]
    assert len(taught) == len(played) + len(wrong)
    assert sum(n for _, n in accuracy(played).values()) == made
    said = [tuple(row.tokens[row.decisions[-1][0] : -1]) for row in taught if row.weights[0] == 0]
    assert sorted(said) == sorted(spoken(d.wanted) for d in wrong)


def test_steps_on_a_batch_lower_its_loss_and_decisions_are_counted():
    torch.manual_seed(0)
    model, batch, standing = Llama(SMALL), rows(8), Standing()
    optimizers, losses = made_optimizers(model, Budget(1)), []
    for _ in range(40):
        losses.append(learn(model, batch, standing))
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    assert losses[0] == pytest.approx(torch.tensor(float(len(words()))).log().item(), rel=0.05)
    assert losses[-1] < losses[1] < losses[0]
    assert losses[-1] < 0.6 * losses[0]
    assert standing.decisions.total() == 40 * sum(len(row.decisions) for row in batch)


def test_a_training_ended_by_tokens_repeats_exactly():
    one, same, other = (
        train(Budget(9, tokens=9000, seed=seed, processes=1), shape=SMALL).state_dict()
        for seed in (3, 3, 4)
    )
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["lm_head.weight"], other["lm_head.weight"])


def test_the_gate_is_kept_only_by_an_agent_that_heeds_plans(model: Llama):
    verdict = gate(model, 6)
    assert not verdict.passed
    assert not verdict.engine
    good = {"best general": [True] * 9 + [False], "poor": [False] * 6 + [True] * 4}
    kept = Verdict(good | {"none": [False] * 10}, {}, False)
    assert kept.passed
    assert kept.difference[0] == pytest.approx(0.5)
    assert "0.900 [0.596, 0.982]" in "\n".join(kept.lines())
    for worse in ({"best general": [True] * 7 + [False] * 3}, {"poor": [True] * 6 + [False] * 4}):
        assert not Verdict(good | {"none": [False] * 10} | worse, {}, False).passed


def test_wilsons_interval_is_as_published():
    # Newcombe 1998, table I: 15 of 148, 0 of 20.
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0, 0.1611), abs=1e-4)


def test_a_folder_without_an_agent_is_named(tmp_path: Path):
    with pytest.raises(InputError, match="not a model of the sandbox"):
        load(tmp_path)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
