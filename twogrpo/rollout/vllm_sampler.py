"""The fast sampler: vLLM in the policy's process, one engine per rank.

P prompts, G rollouts each.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from twogrpo import errors
from twogrpo.config.schema import HardwareConfig, ModelConfig
from twogrpo.data.images import ImageProcessor
from twogrpo.errors import ConfigError, Fault, out_of_memory
from twogrpo.models.end_tokens import end_token_ids
from twogrpo.models.image_inputs import vllm_prompt
from twogrpo.models.load import one_line
from twogrpo.rollout.protocol import SamplingParams, completion
from twogrpo.rollout.vllm_setup import preserved_process_state, sleeps, start, weight_names
from twogrpo.types import Completion, Prompt

# vLLM raises lower temperatures to this, with only a log line.
LOWEST_TEMPERATURE = 0.01


class VllmFault(Fault):
    """vLLM failed while sampling or loading weights; the message names the cause."""


class VllmSampler:
    """See `twogrpo.rollout.protocol.Sampler`.

    Each rollout is a request with its own seed; those of one prompt share its prefix cache.
    Prompts, stopping, text and random state behave as in the transformers sampler.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        model: ModelConfig,
        hardware: HardwareConfig,
        *,
        context_tokens: int | None,
        image_processor: ImageProcessor | None = None,
    ) -> None:
        if image_processor is not None and importlib.util.find_spec("torchvision") is None:
            raise ConfigError(
                f"model.path={model.path} takes images, for which vLLM needs torchvision, and "
                "`make setup-vllm` installs that for CUDA only: use rollout=transformers"
            )
        self.tokenizer = tokenizer
        self.end_token_ids = end_token_ids(model, tokenizer)
        self.hardware = hardware
        self.image_processor = image_processor
        self._names = weight_names(model)
        self.llm = start(model, hardware, context_tokens=context_tokens)
        self.context_tokens: int = self.llm.llm_engine.model_config.max_model_len
        self._is_asleep = self._is_empty = False

    def sample(
        self,
        prompts: Sequence[Prompt],
        seeds_PG: Sequence[Sequence[int]],
        sampling: SamplingParams,
    ) -> list[tuple[Completion, ...]]:
        """Samples one response per seed; vLLM queues requests that do not fit into its cache.

        Raises:
            ConfigError: a prompt and its response do not fit into the context.
            VllmFault: vLLM failed.
            RuntimeError: it has slept without its weights, and no others were loaded.
        """
        self._check(prompts, sampling)
        if self._is_empty:
            raise RuntimeError("the sampler has no weights after its sleep: load comes first")
        self._wake()
        prompts_N = [p for p, seeds in zip(prompts, seeds_PG, strict=True) for _ in seeds]
        with preserved_process_state(self.hardware.device):
            outputs = self._call("sampling", self._generate, prompts_N, seeds_PG, sampling)
        rollouts = iter(map(self._rollout, prompts_N, outputs))
        return [tuple(next(rollouts) for _ in seeds) for seeds in seeds_PG]

    def load(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Copies the weights in memory and resets the prefix cache of the old weights.

        Raises:
            RuntimeError: a name is missing or unknown.
            VllmFault: vLLM failed.
        """
        self._wake("weights")  # not the cache yet: both copies of the weights may be in memory
        unknown: list[str] = []
        missing = set(self._names)
        known = self._known(weights, missing, unknown)
        with preserved_process_state(self.hardware.device):
            # Collected first and refused last: a load that is broken off leaves no model at all.
            self._call("taking weights", self._reload, known)
        if missing or unknown:
            raise RuntimeError(
                f"weights missing: {sorted(missing) or 'none'}, unknown: {unknown or 'none'}"
            )
        self._is_empty = False
        self._wake()

    def sleep(self) -> None:
        """Frees the GPU's memory until the next call, as `sleep_level` says; at level 2 the weights
        are dropped, and `load` must come before `sample`.

        A vision-language model keeps its weights: `load` does not restore all of its tower.
        """
        if self._is_asleep or not sleeps(self.hardware):
            return
        level = self.hardware.sleep_level if self.image_processor is None else 1
        self._call("falling asleep", partial(self.llm.sleep, level=level))
        self._is_asleep, self._is_empty = True, level == 2

    def close(self) -> None:
        """Shuts the engine down, and with it the process group of all ranks.

        One that sleeps ends with the process (`errors.exit_at_once`): it would free its memory a
        second time.
        """
        if self.llm is None:
            return
        core = self.llm.llm_engine.engine_core
        if self._is_asleep:
            if finalizer := getattr(core, "_finalizer", None):
                finalizer.detach()  # else vLLM shuts it down when it is collected
            errors.has_sleeping_engine = True
            return
        with preserved_process_state(self.hardware.device):
            core.shutdown()
        self.llm = None

    def _check(self, prompts: Sequence[Prompt], sampling: SamplingParams) -> None:
        if sampling.temperature < LOWEST_TEMPERATURE:
            raise ConfigError(
                f"temperature={sampling.temperature} is below {LOWEST_TEMPERATURE}, the lowest "
                "that vLLM supports: raise it or use rollout=transformers"
            )
        longest = max((len(prompt.token_ids) for prompt in prompts), default=0)
        if longest + sampling.max_response_tokens > self.context_tokens:
            raise ConfigError(
                f"a prompt of {longest} tokens and max_response_tokens="
                f"{sampling.max_response_tokens} do not fit into a context of "
                f"{self.context_tokens}: lower max_response_tokens or dataset.max_prompt_tokens"
            )

    def _generate(
        self,
        prompts_N: Sequence[Prompt],
        seeds_PG: Sequence[Sequence[int]],
        sampling: SamplingParams,
    ) -> list[Any]:
        import vllm

        requests = [
            vllm.SamplingParams(
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                top_k=sampling.top_k,
                max_tokens=sampling.max_response_tokens,
                seed=seed,
                # Only these end tokens, as in the transformers sampler; vLLM has its own idea.
                ignore_eos=True,
                stop_token_ids=list(self.end_token_ids),
                logprobs=0,  # only the sampled token's
                flat_logprobs=True,  # in lists; else a dictionary and an object a token
                detokenize=False,
            )
            for seeds in seeds_PG
            for seed in seeds
        ]
        inputs = [vllm_prompt(prompt, self.image_processor) for prompt in prompts_N]
        found: list[Any] = self.llm.generate(inputs, requests, use_tqdm=False)
        return found

    def _rollout(self, prompt: Prompt, output: Any) -> Completion:
        if len(output.prompt_token_ids) != len(prompt.token_ids):
            raise VllmFault(
                f"vLLM encoded prompt {prompt.prompt_id} with its images as "
                f"{len(output.prompt_token_ids)} tokens, the policy as {len(prompt.token_ids)}: "
                "their image processors differ"
            )
        [response] = output.outputs
        flat = response.logprobs
        assert list(flat.token_ids) == list(response.token_ids)  # one a position
        return completion(response.token_ids, flat.logprobs, self.tokenizer, self.end_token_ids)

    def _known(
        self, weights: Iterable[tuple[str, Tensor]], missing: set[str], unknown: list[str]
    ) -> Iterator[tuple[str, Tensor]]:
        tied = {name for names in self._names.values() for name in names}
        for name, tensor in weights:
            if name in self._names:
                missing.discard(name)
                yield from ((alias, tensor) for alias in (name, *self._names[name]))
            elif name not in tied:
                unknown.append(name)

    def _reload(self, weights: Iterator[tuple[str, Tensor]]) -> None:
        self.llm.collective_rpc("reload_weights", kwargs={"weights_iterator": weights})
        if not self.llm.reset_prefix_cache():
            raise RuntimeError("the prefix cache of the old weights could not be reset")
        # The worker dropped its image embeddings with the old weights; the scheduler must, too.
        self.llm.llm_engine.reset_encoder_cache()

    def _wake(self, *parts: str) -> None:
        if self._is_asleep:
            torch.cuda.empty_cache()  # vLLM's memory is not torch's, which keeps what updates freed
            self._call("waking up", partial(self.llm.wake_up, tags=list(parts) or None))
            self._is_asleep = bool(parts)

    def _call(self, doing: str, function: Any, *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception as error:
            if out_of_memory(error):  # a fault of its own, which names the keys that take memory
                raise
            raise VllmFault(
                f"vLLM failed while {doing} ({type(error).__name__}: {one_line(error)})"
            ) from error
