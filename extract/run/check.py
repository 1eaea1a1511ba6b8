"""``check``: what a run would do and need, worked out without loading weights."""

import math
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch
from transformers import PretrainedConfig
from transformers.utils.logging import disable_progress_bar

from extract.config import READ, READ_PASSAGE, TASK_SHARE, RunConfig, series, with_tokens
from extract.config_sections import SaeConfig, VariantConfig
from extract.corpus.answers import read_answers
from extract.corpus.documents import Document
from extract.corpus.records import Record, check_domains, first_records, read_corpus
from extract.measure.token_kl import check_predictions
from extract.models.loading import model_config, resolve_device, resolve_dtype
from extract.models.memory import Needs, needs, parameters
from extract.models.model_set import ModelSet
from extract.models.quantization import check_quantization
from extract.run.estimates import estimates
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
from store.metrics.contributions import LEAST_CLUSTERS
from store.metrics.thresholds import MIN_CLUSTERS
from store.names import BASE
from store.numbers import listing

Found = TypeVar("Found")
META = "meta"
"""torch's device of tensors that have a shape and no content."""
CHECKED_TOKENS = 200_000
"""Tokenised at most: a run's usual number, and a second's work."""
FIRST_RECORDS = 20
"""Of each source, rendered besides where a run reads more than that."""


@dataclass
class Report:
    """What ``check`` found.

    Attributes:
        lines: what would run, for people.
        notes: what a run would do that the user should know, a sentence each.
        problems: what is missing or wrong; empty where the run can start.
        size: of the base, in words.
        dictionaries: those of the run, in layer order.
        records, text: the corpus, and of it what was tokenised.
    """

    lines: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    size: str = ""
    dictionaries: list[Dictionary] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    text: Text | None = None

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
    report.attempt(lambda: check_quantization(config.quantization, device or "cpu"))
    dtype = resolve_dtype(config.dtype, device or "cpu")
    base = report.attempt(lambda: model_config(config.base))
    models = None if base is None else _check_models(report, config, base, dtype)
    dictionaries = _check_dictionaries(report, config, dtype, fit=base is not None)
    wanted = report.attempt(lambda: wants_bos(config, dictionaries)) if dictionaries else config.prepend_bos is not False
    text = None if wanted is None else _check_text(report, config, wanted)
    report.dictionaries, report.text = dictionaries or [], text
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
        n_twins = config.twins * len(config.variants) if models is None else len(models.twins)
        report.lines += estimates(config, base, needed, dictionaries or [], out, n_twins)
    return report


def _check_models(report: Report, config: RunConfig, base: PretrainedConfig, dtype: torch.dtype) -> ModelSet | None:
    """Base and variants without their weights; None where one cannot be had."""
    if (count := report.attempt(lambda: parameters(base))) is None:
        return None
    millions = f"{count / 1e6:,.0f}" if count >= 1e7 else f"{count / 1e6:.2g}"
    report.size = f"{base.num_hidden_layers} layers, d_model {base.hidden_size}, about {millions}M parameters"
    report.lines.append(f"base      {config.base}: {report.size}")
    report.lines += [f"variant   {name}: {v.kind} {v.source}" for name, v in config.variants.items()]
    report.lines += [_series_line(config, name, checkpoints) for name, checkpoints in series(config.variants).items()]

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


def _series_line(config: RunConfig, name: str, checkpoints: Sequence[str]) -> str:
    """How many checkpoints of a training there are, and how many models they are to be read."""
    steps = [f"{step:,}" for step in sorted({config.variants[checkpoint].step for checkpoint in checkpoints})]
    twins = f" with {config.twins} twins each" if config.twins else ""
    return (
        f"series    {name}: {len(checkpoints)} checkpoints, of the steps {listing(steps)}; each is read as a variant{twins}, "
        f"{len(checkpoints) * (1 + config.twins)} models in all"
    )


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
    raw = report.attempt(lambda: read_corpus(config.corpus))
    if raw is None:
        for source in config.corpus:
            report.attempt(lambda source=source: read_corpus([source]))
        return None
    report.records = records = raw.records
    report.lines += [f"source    {reading.line()}" for reading in raw.readings]
    report.notes += raw.notes
    domains = sorted({record.domain for record in records})
    report.lines.append(f"corpus    {len(records):,} documents in {len(domains)} domains: {', '.join(domains)}")
    first = with_tokens(config, min(config.tokens, CHECKED_TOKENS))
    report.attempt(lambda: check_domains(config, records))
    text = report.attempt(lambda: read_text(first, records, bos, quiet=True))
    if text is not None:
        report.attempt(lambda: check_corpus(config, text.corpus))
    if text is not None and first.tokens < config.tokens:
        report.attempt(lambda: read_text(first, first_records(records, FIRST_RECORDS), bos, quiet=True))
    if text is not None:
        # of a budget that was not read to its end only the records tell how many clusters there may be at most
        _say_clusters(report, text.corpus.documents if first.tokens == config.tokens else records)
        report.notes += text.corpus.notes
        report.notes += _sample_notes(config, {document.domain for document in text.corpus.documents})
    return text


def _say_clusters(report: Report, texts: Sequence[Document | Record]) -> None:
    """How many clusters a domain has, where its documents are not each one; a note where they are too few for an interval."""
    documents = Counter(text.domain for text in texts)
    clusters = Counter(domain for domain, _cluster in {(text.domain, text.cluster) for text in texts})
    grouped = [name for name in sorted(documents) if clusters[name] < documents[name]]
    report.lines += [f"clusters  {name}: {documents[name]:,} documents of {clusters[name]:,} clusters" for name in grouped]
    report.notes += [
        f"The domain {name!r} will have no intervals of its own: its {documents[name]:,} documents are {clusters[name]:,} "
        f"clusters, and {MIN_CLUSTERS} are needed."
        for name in sorted(documents)
        if clusters[name] < MIN_CLUSTERS
    ]


def _sample_notes(config: RunConfig, domains: set[str]) -> list[str]:
    """Where so few predictions are sampled that what was learned of a task cannot be told from chance, how many can."""
    tasks = domains & set(config.tasks(config.variants))
    predictions = config.predictions(config.tokens)
    least = math.ceil(LEAST_CLUSTERS * READ_PASSAGE / READ * (len(domains) / TASK_SHARE + len(tasks) * (1 - 1 / TASK_SHARE)))
    if config.contributions == 0 or not tasks or predictions >= least:
        return []
    return [
        f"What was learned of a task will hardly be told from chance: {READ * predictions:,} predictions are read, and it "
        f"takes {READ * least:,} (contributions: {least}) for {LEAST_CLUSTERS} clusters of documents of each."
    ]


def _memory(config: RunConfig, base: PretrainedConfig, device: str) -> Needs:
    """Which way the run will go with its models.

    Raises:
        UserError: the run cannot go that way.
    """
    needed = needs(config, base, device, resolve_dtype(config.dtype, device))
    check_predictions(config, needed.one_at_a_time)
    return needed


def _answers_line(config: RunConfig) -> str:
    """What the file of answers holds of the run's models."""
    rows = read_answers(Path(config.answers), [BASE, *config.variants])
    models = [model for model in (BASE, *config.variants) if (rows["model"] == model).any()]
    prompts = rows.groupby("task")["prompt"].nunique()
    return f"answers   {prompts.sum():,} prompts in {len(prompts)} tasks, of {', '.join(models)}"
