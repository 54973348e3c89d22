"""Who asks a model of this process waits for nobody else, and nobody is waited for who has left."""

import asyncio
import threading
import time

import pytest

from mpo_core.chat import ChatRequest
from mpo_core.config import ServedModelConfig
from mpo_core.training import generation
from mpo_core.training.generation import Drawn, LocalModel, Weights

ASKED = ChatRequest([{"role": "user", "content": "hi"}], max_tokens=8)


class Tokenizer:
    def __call__(self, text, **_):
        return {"input_ids": [1, 2]}


class Template:
    def render(self, messages, **_):
        return "hi"


@pytest.fixture
def model(monkeypatch):
    """Models by name, of which those whose name begins with `slow` load until they are let."""
    let = threading.Event()

    def load(source, trained):
        assert not source.startswith("slow") or let.wait(30)
        return Weights(None, Tokenizer(), [0], 100)

    monkeypatch.setattr(generation, "_load", load)
    monkeypatch.setattr(generation, "of_tokenizer", lambda *_: Template())
    monkeypatch.setattr(generation, "draw", lambda *_: [Drawn("well", 1, False)])
    generation.forget()
    made = []

    def make(name):
        config = ServedModelConfig(source=name)
        made.append(LocalModel(name, name, config, name, None))
        return made[-1]

    make.let = let
    yield make
    let.set()
    generation.forget()
    for one in made:
        asyncio.run(one.close())


@pytest.mark.slow
def test_a_model_that_is_loaded_answers_while_another_loads(model):
    async def main():
        quick, slow = model("quick"), model("slow")
        await quick.chat(ASKED)
        loading = asyncio.create_task(slow.chat(ASKED))
        others = [asyncio.create_task(model("slow").chat(ASKED)) for _ in range(40)]
        await asyncio.sleep(0.05)
        async with asyncio.timeout(5):
            [reply] = await quick.chat(ASKED)
            # Nor are the threads taken that everybody uses.
            await asyncio.to_thread(time.monotonic)
        assert reply.text == "well" and not loading.done()
        model.let.set()
        await asyncio.gather(loading, *others)

    asyncio.run(main())


def test_the_models_that_were_asked_last_stay_loaded(model, monkeypatch):
    loads = []
    load = generation._load
    monkeypatch.setattr(generation, "_load", lambda *a: loads.append(a[0]) or load(*a))

    async def main():
        for name in "abacab":
            await model(name).chat(ASKED)

    asyncio.run(main())
    assert loads == ["a", "b", "c", "b"]


@pytest.mark.slow
def test_an_answer_is_drawn_as_long_as_somebody_waits_for_it(model, monkeypatch):
    drawn = []

    def draw(weights, samples, wanted):
        while wanted() and len(drawn) < 5000:
            drawn.append(len(samples))
            time.sleep(0.001)
        return [Drawn("well", 1, False)] * len(samples)

    monkeypatch.setattr(generation, "draw", draw)

    async def main():
        here = model("quick")
        for _ in range(2):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await here.chat(ASKED)
        waits = asyncio.create_task(here.chat(ASKED))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await here.chat(ASKED)
        monkeypatch.setattr(generation, "draw", lambda *_: [Drawn("well", 1, False)])
        waits.cancel()
        async with asyncio.timeout(5):
            [reply] = await here.chat(ASKED)
        assert reply.text == "well"

    asyncio.run(main())
    assert len(drawn) < 3000
