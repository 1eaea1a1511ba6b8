"""``check``: what a run would do and need, worked out without loading weights."""

import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch
from transformers import PretrainedConfig
from transformers.utils.logging import disable_progress_bar

from extract.config import RunConfig, SaeConfig, VariantConfig, with_tokens
from extract.corpus.answers import read_answers
from extract.corpus.records import check_domains, first_records, read_records
from extract.measure.token_kl import check_predictions
from extract.models.loading import model_config, resolve_device, resolve_dtype
from extract.models.memory import Needs, needs, parameters
from extract.models.model_set import ModelSet
from extract.run.inputs import (
    Text,
    bos_token,
    check_corpus,
    check_planted,
    check_token_ids,
    read_dictionaries,
    read_text,
    wants_bos,
)
from extract.run.provenance import check_begun, fingerprint_of_text
from extract.saes.dictionary import Dictionary
from extract.saes.reading import read_sae
from store.errors import UserError
from store.format.writer import check_free
from store.names import BASE, RANKINGS

Found = TypeVar("Found")
META = "meta"
"""torch's device of tensors that have a shape and no content."""
CHECKED_TOKENS = 200_000
"""Tokenised at most: a run's usual number, and a second's work."""
FIRST_RECORDS = 20
"""Of each source, rendered besides where a run reads more than that."""
# Measured on this project's demo: Gemma 3 270M to layer 15 takes 1.65 ms a token on 2 cores, 0.18 GFLOP.
CPU_FLOPS = 1.1e11
# The token KL there takes 22 ms a token for base and one variant: 9 ms a model beyond its blocks, for 0.34 GFLOP of the head.
HEAD_FLOPS = 3.7e10
BYTES_A_CODE = 5.5
CODES_A_TOKEN = 64


@dataclass
class Report:
    """What ``check`` found.

    Attributes:
        lines: what would run, for people.
        notes: what a run would do that the user should know, a sentence each.
        problems: what is missing or wrong; empty where the run can start.
    """

    lines: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def attempt(self, step: Callable[[], Found]) -> Found | None:
        """Take a step; a user's error becomes a problem instead of ending the check, and None is returned."""
        try:
            return step()
        except UserError as error:
            if str(error) not in self.problems:
                self.problems.append(str(error))
            return None


def check(config: RunConfig, out: Path | None = None) -> Report:
    """Look at every input by the code that a run reads it with, weights left out, and estimate time, memory and disk.

    Models and dictionaries are put together on torch's meta device, from names and shapes alone; of the corpus at most
    CHECKED_TOKENS tokens are made, and the first records of every source rendered.

    Args:
        out: where the store would stand.
    """
    report = Report()
    disable_progress_bar()  # there are no weights to wait for
    if out is not None:
        report.attempt(lambda: check_free(out))
    can_begin = out is not None and not report.problems
    device = report.attempt(lambda: resolve_device(config.device))
    dtype = resolve_dtype(config.dtype, device or "cpu")
    base = report.attempt(lambda: model_config(config.base))
    models = None if base is None else _check_models(report, config, base, dtype)
    dictionaries = _check_dictionaries(report, config, dtype, fit=base is not None)
    wanted = report.attempt(lambda: wants_bos(config, dictionaries)) if dictionaries else config.prepend_bos is not False
    text = None if wanted is None else _check_text(report, config, wanted)
    if config.answers is not None:
        report.attempt(lambda: report.lines.append(_answers_line(config)))
    if dictionaries:
        report.attempt(lambda: check_planted(config, dictionaries))
    if dictionaries and text:
        bos = report.attempt(lambda: bos_token(config, text.tokenizer, dictionaries))
        if can_begin and config.tokens <= CHECKED_TOKENS:
            report.attempt(lambda: check_begun(out, fingerprint_of_text(config, text.corpus, text.tokenizer)))
        if models:
            report.attempt(lambda: check_token_ids(models, text.corpus, bos))
    needed = None if base is None or device is None else report.attempt(lambda: _memory(config, base, device))
    if needed is not None:
        report.lines += _needs(config, base, needed, dictionaries or [], out)
    return report


def _check_models(report: Report, config: RunConfig, base: PretrainedConfig, dtype: torch.dtype) -> ModelSet | None:
    """Base and variants without their weights; None where one cannot be had."""
    if (count := report.attempt(lambda: parameters(base))) is None:
        return None
    shape = f"{base.num_hidden_layers} layers, d_model {base.hidden_size}, about {count / 1e6:,.0f}M parameters"
    report.lines.append(f"base      {config.base}: {shape}")
    report.lines += [f"variant   {name}: {v.kind} {v.source}" for name, v in config.variants.items()]

    def of(variants: Mapping[str, VariantConfig]) -> ModelSet | None:
        only = config.model_copy(update={"variants": variants})
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "for .* copying from a non-meta parameter")  # torch says so of every tensor
            return report.attempt(lambda: ModelSet(only, META, dtype))

    if (models := of(config.variants)) is not None:
        report.notes += models.notes
    elif of({}) is not None:  # else the base is at fault, which has been said
        for name, variant in config.variants.items():
            of({name: variant})
    return models


def _check_dictionaries(report: Report, config: RunConfig, dtype: torch.dtype, fit: bool) -> list[Dictionary] | None:
    """The dictionaries without their weights, in layer order; None where one cannot be had.

    Args:
        fit: whether there is a base that they can be held against.
    """

    def of(saes: list[SaeConfig], replicas: list[SaeConfig]) -> tuple[list[Dictionary], list[Dictionary]] | None:
        only = config.model_copy(update={"saes": saes, "replicas": replicas})
        return report.attempt(lambda: read_dictionaries(only, META, dtype))

    report.lines += [f"sae       {sae.name}" for sae in config.saes]
    if not fit:
        for sae in (*config.saes, *config.replicas):
            report.attempt(lambda sae=sae: read_sae(sae, META, dtype))
        return None
    if (found := of(config.saes, config.replicas)) is None:
        for sae in config.saes:
            of([sae], [])
        return None
    dictionaries, replicas = found
    report.notes += [note for read in (*dictionaries, *replicas) for note in read.notes]
    return dictionaries


def _check_text(report: Report, config: RunConfig, bos: bool) -> Text | None:
    """The first tokens of the corpus, and the first records of each source; None where there are none to be had."""
    records = report.attempt(lambda: read_records(config.corpus))
    if records is None:
        for source in config.corpus:
            report.attempt(lambda source=source: read_records([source]))
        return None
    domains = sorted({record.domain for record in records})
    report.lines.append(f"corpus    {len(records):,} documents in {len(domains)} domains: {', '.join(domains)}")
    first = with_tokens(config, min(config.tokens, CHECKED_TOKENS))
    report.attempt(lambda: check_domains(config, records))
    text = report.attempt(lambda: read_text(first, records, bos, quiet=True))
    if text is not None:
        report.attempt(lambda: check_corpus(config, text.corpus))
    if text is not None and first.tokens < config.tokens:
        report.attempt(lambda: read_text(first, first_records(records, FIRST_RECORDS), bos, quiet=True))
    report.notes += [] if text is None else text.corpus.notes
    return text


def _memory(config: RunConfig, base: PretrainedConfig, device: str) -> Needs:
    """Which way the run will go with its models.

    Raises:
        UserError: the run cannot go that way.
    """
    needed = needs(config, base, device, resolve_dtype(config.dtype, device))
    check_predictions(config, needed.one_at_a_time)
    return needed


def _memory_line(config: RunConfig, needed: Needs) -> str:
    """What the weights take, and how they will be held."""
    gigabytes = needed.set_bytes / 1e9
    free = f"{needed.free_bytes / 1e9:.1f} GB free"
    if needed.one_at_a_time:
        return (
            f"memory    about {gigabytes:.1f} GB of weights at a time, one of {needed.sets} sets ({free}): each shard goes "
            "through one model after the other, and its residuals wait on the disk"
        )
    return (
        f"memory    about {needed.sets * gigabytes:.1f} GB of weights ({needed.sets} set(s), all at a time; adapters share the "
        f"base's), {free}"
    )


def _needs(
    config: RunConfig, base: PretrainedConfig, needed: Needs, dictionaries: Sequence[Dictionary], out: Path | None
) -> list[str]:
    """Estimates, each from the rate it says."""
    beside = (out or Path("x")).absolute()
    above = next(folder for folder in (*beside.parents, beside) if folder.is_dir())
    n_models = 1 + len(config.variants)
    disk = config.tokens * CODES_A_TOKEN * n_models * len(config.saes) * BYTES_A_CODE + _context_bytes(config, dictionaries)
    seconds = config.tokens * n_models * 2 * parameters(base, embeddings=False) / CPU_FLOPS
    free = shutil.disk_usage(above).free
    return [
        f"tokens    {config.tokens:,} in windows of {config.context_length}, {n_models} models, {len(config.saes)} layers",
        _memory_line(config, needed),
        f"disk      at most about {disk / 1e6:,.0f} MB while it runs (codes of {CODES_A_TOKEN} features a token, contexts), "
        f"{free / 1e9:,.0f} GB free there",
        f"time      about {seconds / 60:,.0f} minutes of forward passes on two CPU cores ({CPU_FLOPS / 1e9:.0f} GFLOP/s)",
        *([_token_kl_line(config, base)] if config.token_kl else []),
    ]


def _token_kl_line(config: RunConfig, base: PretrainedConfig) -> str:
    """The prediction pass: all blocks, and the head over the whole vocabulary, of every model."""
    tokens = min(config.token_kl, config.tokens)
    blocks = 2 * parameters(base, embeddings=False) / CPU_FLOPS
    head = 2 * base.vocab_size * base.hidden_size / HEAD_FLOPS
    minutes = tokens * (1 + len(config.variants)) * (blocks + head) / 60
    return (
        f"token KL  {tokens:,} tokens, about {minutes:,.0f} minutes more on two CPU cores for predictions over "
        f"{base.vocab_size:,} words ({HEAD_FLOPS / 1e9:.0f} GFLOP/s with the softmax)"
    )


def _answers_line(config: RunConfig) -> str:
    """What the file of answers holds of the run's models."""
    rows = read_answers(Path(config.answers), [BASE, *config.variants])
    models = [model for model in (BASE, *config.variants) if (rows["model"] == model).any()]
    prompts = rows.groupby("task")["prompt"].nunique()
    return f"answers   {prompts.sum():,} prompts in {len(prompts)} tasks, of {', '.join(models)}"


def _context_bytes(config: RunConfig, dictionaries: Sequence[Dictionary]) -> float:
    """At most: every feature with all its contexts, staged once and sorted once; two values and an id for each token."""
    features = sum(dictionary.d_sae for dictionary in dictionaries)
    window = config.context_before + config.context_after + 1
    return 2 * features * len(config.variants) * len(RANKINGS) * config.contexts * window * 12
