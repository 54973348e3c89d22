"""A model that answers in this process, by transformers: for notebooks, tests and small models.

Requests that come together share a batch. Each sample is drawn with a seed of its own (the Gumbel
trick: the likeliest token after noise from that seed is a sample), so that what it is does not
depend on what it was asked beside, but for the rounding of a batch. Samples are drawn from all that
the model may say: top-p and the like of its generation config are not used.

The two models that were asked last stay loaded. Loading and drawing have a thread for each model,
so that neither another model nor whoever else uses threads waits for them. Answers that nobody
waits for any more are not drawn to their end.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, TypeVar

from mpo_core.chat import ChatRequest
from mpo_core.chat_templates import ChatTemplate, given_template, of_tokenizer, template_settings
from mpo_core.completions import Reply, reply_of
from mpo_core.config import ServedModelConfig
from mpo_core.errors import ContextFull
from mpo_core.hardware import multiplies_bf16

T = TypeVar("T")
LOADING = Lock()
LOADED = 2
"""Models that stay loaded."""
LAST_TOKENS = 16
"""In which a stop word is looked for after every token."""


@dataclass(frozen=True)
class Sample:
    """One answer to be drawn."""

    tokens: tuple[int, ...]
    """What the model is given."""
    temperature: float
    seed: int
    max_tokens: int
    stop: tuple[str, ...]


class Drawn(NamedTuple):
    text: str
    n_tokens: int
    truncated: bool


class Weights(NamedTuple):
    model: Any
    tokenizer: Any
    ends: list[int]
    """Tokens that end a turn."""
    context: int
    """Longest prompt plus answer, in tokens."""


Key = tuple[str, str, str | None]
"""What a model is loaded by: fingerprint, source, and what was trained of it."""
_weights_of: OrderedDict[Key, Weights] = OrderedDict()


class LocalModel:
    """A chat model (`mpo_core.chat.ChatModel`) in this process."""

    def __init__(
        self,
        fingerprint: str,
        name: str,
        config: ServedModelConfig,
        source: Path | str,
        trained: Path | None,
    ) -> None:
        """
        Args:
            source: folder or hub id of the base model.
            trained: an adapter of it, or a whole model in its place.
        """
        self.fingerprint = fingerprint
        self.name, self._config = name, config
        self._source, self._trained = str(source), str(trained) if trained else None
        self._template: ChatTemplate | None = None
        self._waiting: list[tuple[Sample, asyncio.Future[Drawn]]] = []
        self._worker: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mpo-model")

    async def chat(self, request: ChatRequest) -> list[Reply]:
        """As `ChatModel.chat`: the same seed gives the same sample, whatever it is drawn with."""
        weights = _known(self._key)
        if weights is None:
            weights = await self._apart(self._weights)
        if self._template is None:
            settings, given = template_settings(self._config), given_template(self._config)
            self._template = of_tokenizer(weights.tokenizer, self.name, settings, given)
        extend = request.beginning is not None
        text = self._template.render(request.messages, ask=not extend, extend=extend)
        tokens = tuple(weights.tokenizer(text, add_special_tokens=False)["input_ids"])
        longest = min(weights.context, self._config.max_model_len)
        most, stop = request.max_tokens, tuple(request.stop)
        if len(tokens) + most > longest:
            raise ContextFull(
                f"{len(tokens)} tokens and an answer of {most} are more than {longest}"
            )
        seeds = range(request.seed or 0, (request.seed or 0) + request.n)
        asked = [Sample(tokens, request.temperature, seed, most, stop) for seed in seeds]
        drawn = await asyncio.gather(*map(self._draw, asked))
        return [
            reply_of(
                one.text,
                truncated=one.truncated,
                prompt_tokens=0 if k else len(tokens),
                completion_tokens=one.n_tokens,
            )
            for k, one in enumerate(drawn)
        ]

    async def close(self) -> None:
        self._thread.shutdown(wait=False)

    @property
    def _key(self) -> Key:
        return self.fingerprint, self._source, self._trained

    def _weights(self) -> Weights:
        return _known(self._key) or _loaded(self._key)

    def _drawn(self, samples: Sequence[Sample], wanted: Callable[[], bool]) -> list[Drawn]:
        return draw(self._weights(), samples, wanted)

    async def _apart(self, function: Callable[..., T], *values: Any) -> T:
        """What a function gives, in the model's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *values)

    async def _draw(self, sample: Sample) -> Drawn:
        future: asyncio.Future[Drawn] = asyncio.get_running_loop().create_future()
        self._waiting.append((sample, future))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        """Draw what is waiting, a batch at a time, until nothing is."""
        while self._waiting:
            # Whoever got an answer of the last batch may ask for its next one first.
            await asyncio.sleep(0.001)
            self._waiting = [w for w in self._waiting if not w[1].done()]
            if not self._waiting:
                break
            limits = (self._waiting[0][0].max_tokens, self._waiting[0][0].stop)
            alike = [w for w in self._waiting if (w[0].max_tokens, w[0].stop) == limits]
            batch = alike[: self._config.concurrency]
            taken = {id(future) for _, future in batch}
            self._waiting = [w for w in self._waiting if id(w[1]) not in taken]
            asked = [sample for sample, _ in batch]
            answers = [future for _, future in batch]
            try:
                drawn = await self._apart(self._drawn, asked, partial(_waited_for, answers))
            except Exception as error:
                # Whoever asked is told; the worker itself has nobody to tell.
                for future in answers:
                    if not future.done():
                        future.set_exception(error)
                continue
            for future, one in zip(answers, drawn, strict=True):
                if not future.done():
                    future.set_result(one)


def _waited_for(answers: Sequence[asyncio.Future[Drawn]]) -> bool:
    return not all(future.done() for future in answers)


def draw(
    weights: Weights, samples: Sequence[Sample], wanted: Callable[[], bool] = lambda: True
) -> list[Drawn]:
    """An answer for each sample, all of one `max_tokens` and `stop`.

    Args:
        wanted: asked after every token; where it says no, the answers end there.
    """
    import torch
    from transformers import GenerationConfig, LogitsProcessor, StoppingCriteria

    model, tokenizer = weights.model, weights.tokenizer
    longest = max(len(sample.tokens) for sample in samples)
    stop, limit = samples[0].stop, samples[0].max_tokens
    ends = weights.ends
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0]
    generators = [torch.Generator().manual_seed(sample.seed) for sample in samples]

    class AddNoise(LogitsProcessor):
        def __call__(self, _: Any, scores: Any) -> Any:
            scores = scores.float()
            for row, (sample, generator) in enumerate(zip(samples, generators, strict=True)):
                if sample.temperature:
                    noise = torch.empty(scores.shape[1]).exponential_(generator=generator).log()
                    scores[row] = scores[row] / sample.temperature - noise.to(scores.device)
            return scores

    class Unwanted(StoppingCriteria):
        def __call__(self, tokens: Any, scores: Any, **_: Any) -> Any:
            return torch.full((len(tokens),), not wanted(), device=tokens.device)

    class StopAtWord(StoppingCriteria):
        def __call__(self, tokens: Any, scores: Any, **_: Any) -> Any:
            last = tokens[:, longest:][:, -LAST_TOKENS:]
            texts = tokenizer.batch_decode(last, skip_special_tokens=True)
            found = [any(word in text for word in stop) for text in texts]
            return torch.tensor(found, device=tokens.device)

    rows = [[padding] * (longest - len(s.tokens)) + list(s.tokens) for s in samples]
    seen = [[0] * (longest - len(s.tokens)) + [1] * len(s.tokens) for s in samples]
    with torch.inference_mode():
        tokens = model.generate(
            input_ids=torch.tensor(rows, device=model.device),
            attention_mask=torch.tensor(seen, device=model.device),
            generation_config=GenerationConfig(
                do_sample=False, max_new_tokens=limit, eos_token_id=ends, pad_token_id=padding
            ),
            logits_processor=[AddNoise()],
            stopping_criteria=[Unwanted(), *([StopAtWord()] if stop else [])],
        )
    return [_drawn(tokenizer, row, ends, stop, limit) for row in tokens[:, longest:].tolist()]


def _drawn(
    tokenizer: Any, tokens: list[int], ends: Sequence[int], stop: Sequence[str], limit: int
) -> Drawn:
    """An answer up to its end: the end of the turn, a stop word, or the limit."""
    end = next((k for k, token in enumerate(tokens) if token in ends), len(tokens))
    text = tokenizer.decode(tokens[:end], skip_special_tokens=True)
    cuts = [at for word in stop if (at := text.find(word)) >= 0]
    cut = min(cuts, default=len(text))
    truncated = not cuts and end == len(tokens) == limit
    return Drawn(text[:cut], min(end + 1, len(tokens)), truncated)


def forget() -> None:
    """Let go of the models that stay loaded."""
    _weights_of.clear()


def _known(key: Key) -> Weights | None:
    """A model that is loaded, without a wait for one that is being loaded."""
    with suppress(KeyError):
        _weights_of.move_to_end(key)
        return _weights_of[key]
    return None


def _loaded(key: Key) -> Weights:
    """Loads anew what has another fingerprint, if in the same folder."""
    with LOADING:
        weights = _known(key)
        if weights is None:
            _weights_of[key] = weights = _load(*key[1:])
            while len(_weights_of) > LOADED:
                _weights_of.popitem(last=False)
        return weights


def _load(source: str, trained: str | None) -> Weights:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
    from transformers.utils import logging

    logging.disable_progress_bar()

    adapter = trained if trained and (Path(trained) / "adapter_config.json").is_file() else None
    folder = source if adapter or not trained else trained
    on_gpu = torch.cuda.is_available()
    # As stored, but for bfloat16 on a processor that is slow at it.
    dtype = "auto" if on_gpu or multiplies_bf16() else torch.float32
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    found = model.generation_config.eos_token_id
    ends = [*(found if isinstance(found, list) else [found]), tokenizer.eos_token_id]
    # Whose defaults, such as top-p, would otherwise be those of every answer.
    model.generation_config = GenerationConfig()
    if adapter:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter)
    model.to("cuda" if on_gpu else "cpu").eval()
    context = getattr(model.config, "max_position_embeddings", None) or 2**31
    return Weights(model, tokenizer, [t for t in dict.fromkeys(ends) if t is not None], context)
