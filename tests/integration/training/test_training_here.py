"""Training and answering without Ray, as a notebook does: rows in, a planner out, which then
answers in this process."""

import asyncio

import pytest
import torch

import mpo_core as mpo
from mpo_core.chat import ChatRequest
from mpo_core.ledger import read_records
from mpo_core.training.generation import LocalModel, Sample, draw

PROMPT = [{"role": "user", "content": "heat the water 3"}]
OTHERS = [[{"role": "user", "content": f"find the kitchen {n}"}] for n in range(3)]


@pytest.fixture(scope="module")
def planner(model):
    return mpo.planner(mpo.model(source=model, max_model_len=64), max_tokens=16)


@pytest.fixture(scope="module")
def trained(planner, pairs, tmp_path_factory):
    rows = read_records(pairs, mpo.PreferencePair)
    settings = {"batch_size": 8, "micro_batch_size": 8, "learning_rate": 5e-3, "max_steps": 4}
    settings |= {"lora": {"rank": 4, "alpha": 8}, "max_length": 64, "precision": "fp32"}
    folder = tmp_path_factory.mktemp("here") / "mpo"

    async def within_a_loop():
        return mpo.train(rows, planner, folder, workers=1, **settings)

    return asyncio.run(within_a_loop())


def ask(model: mpo.Model, *asked: dict):
    """The replies to several requests at once."""

    async def main():
        client = model.connect()
        assert isinstance(client, LocalModel)
        return await asyncio.gather(*(client.chat(ChatRequest(**one)) for one in asked))

    return asyncio.run(main())


def test_dpo_learns_and_leaves_a_planner(trained):
    summary = trained.summary
    assert (summary.engine, summary.world_size, summary.steps) == ("DeepSpeedEngine", 1, 4)
    assert summary.loss_last < summary.loss_first
    folder = trained.planner.model.trained
    assert (folder / "adapter_config.json").is_file()
    assert [path.name for path in folder.parent.iterdir()] == ["mpo"]


def test_the_trained_planner_answers_as_transformers_has_it(trained, planner, model):
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoTokenizer

    [[reply], [before]] = [
        ask(one.model, {"messages": PROMPT, "max_tokens": 16})[0]
        for one in (trained.planner, planner)
    ]
    tokenizer = AutoTokenizer.from_pretrained(model)
    asked = tokenizer.apply_chat_template(PROMPT, add_generation_prompt=True, return_dict=False)
    whole = AutoPeftModelForCausalLM.from_pretrained(trained.planner.model.trained).float()
    expected = whole.generate(input_ids=torch.tensor([asked]), max_new_tokens=16, do_sample=False)[
        0, len(asked) :
    ]
    assert reply.text == tokenizer.decode(expected, skip_special_tokens=True)
    assert trained.planner.model.fingerprint.startswith(planner.model.fingerprint + "+")
    assert reply.text != before.text


def test_a_sample_is_its_seeds_whatever_it_is_asked_beside(planner):
    sampled = {"temperature": 1.0, "max_tokens": 12, "seed": 5}
    [alone] = ask(planner.model, {"messages": PROMPT, "n": 3, **sampled})
    together = ask(
        planner.model,
        *[{"messages": other, "max_tokens": 12} for other in OTHERS],
        {"messages": PROMPT, "n": 3, **sampled},
        {"messages": PROMPT, **sampled | {"seed": 7}},
    )
    texts = [reply.text for reply in alone]
    assert len(set(texts)) == 3
    assert [reply.text for reply in together[-2]] == texts
    assert together[-1][0].text == texts[2]
    assert alone[0].prompt_tokens and not alone[1].prompt_tokens


def test_answers_end_at_a_stop_word_and_at_the_limit(planner):
    [[free]] = ask(planner.model, {"messages": PROMPT, "max_tokens": 12})
    assert free.truncated and free.completion_tokens == 12
    word = free.text.split()[3]
    [[cut]] = ask(planner.model, {"messages": PROMPT, "max_tokens": 12, "stop": [word]})
    assert cut.text == free.text[: free.text.index(word)] and not cut.truncated
    begun = [*PROMPT, {"role": "assistant", "content": free.text.split()[0]}]
    [[rest]] = ask(planner.model, {"messages": begun, "max_tokens": 6})
    assert rest.text.split() == free.text.split()[1:7]


def test_what_does_not_fit_the_context_is_said(planner):
    long = [{"role": "user", "content": "wait " * 60}]
    with pytest.raises(mpo.ContextFull, match="more than 64"):
        ask(planner.model, {"messages": long, "max_tokens": 12})


def test_an_answer_that_nobody_waits_for_is_not_drawn_to_its_end(planner):
    weights = planner.model.connect()._weights()
    asked = [Sample((1, 2, 3), 0.0, seed, 60, ()) for seed in range(2)]
    looked = []

    def wanted():
        looked.append(True)
        return len(looked) < 4

    never_ends = weights._replace(ends=[weights.tokenizer.vocab_size + 5])
    assert [one.n_tokens for one in draw(never_ends, asked, wanted)] == [4, 4]
