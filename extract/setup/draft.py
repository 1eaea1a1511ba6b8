"""A run's configuration from what was found or named, looked at by the code of ``check``; and what there is to say about it."""

import os
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from transformers.utils import cached_file

from extract.config import RunConfig, groups
from extract.config_file import problems
from extract.corpus.documents import Corpus
from extract.models.base_names import known_names
from extract.models.loading import load_tokenizer, local_folder, model_config
from extract.run.check import CHECKED_TOKENS, Report, check
from extract.run.inputs import read_text, wants_bos
from extract.saes.conventions import said
from extract.setup.base_choice import choose_base
from extract.setup.chosen_saes import Chosen, choose_saes
from extract.setup.copies import settings_apart, without_copies
from extract.setup.folder import TOO_DEEP
from extract.setup.parts import ADAPTER, Parts, Weights, is_local
from extract.setup.recipes import as_series, named_apart, recipe, replicates, trained_for
from extract.setup.states import told_apart, with_ends, with_steps
from extract.setup.text_sources import TextSource, read_sources
from store.errors import UserError
from store.numbers import listed

DEFAULT = {name: field.default for name, field in RunConfig.model_fields.items()}


@dataclass
class Draft:
    """A configuration, ready to be written.

    Attributes:
        content: the fields, as the file has them; local paths absolute.
        config: the same, validated.
        sources: the data, in the order of ``corpus``.
        saes: the dictionaries.
        report: what ``check`` says of it.
        remarks: how it came to be, a sentence each.
        missing: what it lacks, a sentence each.
    """

    content: dict[str, Any]
    config: RunConfig
    sources: list[TextSource]
    saes: Chosen
    report: Report
    remarks: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def make_draft(parts: Parts, tasks: dict[str, list[str]]) -> Draft:
    """Put a run together.

    Args:
        tasks: variant -> the domains that the user says it was trained for.

    Raises:
        UserError: nothing can be made of it, or what it is made of does not belong together.
    """
    parts.weights = with_ends(parts.weights)
    base, weights, remarks = choose_base(parts)
    weights = without_copies(told_apart(with_ends(weights, of_any_kind=True)), parts)
    weights, of_ends = with_steps(weights, parts)
    if not weights:
        deep = next((f"; '{name}' lies too deep to be looked through" for name, why in parts.unused if why == TOO_DEEP), "")
        raise UserError(
            f"There is nothing that was fine-tuned from the base '{base}'{deep}; give adapters or models with --variant."
        )
    remarks += of_ends
    base = os.path.abspath(base) if is_local(base) else base  # noqa: PTH100 - links stay as they are
    sources = read_sources(parts)
    shape, folder = model_config(base), local_folder(base)
    saes = choose_saes(parts, shape, known_names(base, folder, ""), torch.float32)
    variants, of_variants = _variants([_asked_the_hub(one) for one in weights], sources, tasks)
    content = {
        "base": base,
        "variants": variants,
        "saes": [_absolute(entry) for entry in saes.given],
        "corpus": [source.given for source in sources],
    }
    remarks += of_variants + saes.remarks
    remarks += _settings(content, base, shape, saes, parts)
    config = validated(content)
    remarks += _neutral(content, config, sources)
    config = validated(content)
    if (n_tokens := _tokens(config, sources, saes)) < config.tokens:
        content["tokens"] = n_tokens
        config = validated(content)
    report = check(config)
    return Draft(content, config, sources, saes, report, remarks, _missing(config))


def validated(content: dict[str, Any]) -> RunConfig:
    """The configuration of some fields.

    Raises:
        UserError: a field is wrong.
    """
    try:
        return RunConfig.model_validate(content)
    except ValidationError as error:
        raise UserError(f"No run can be made of this: {problems(error)}.") from error


def _asked_the_hub(one: Weights) -> Weights:
    """Whether a hub id is of an adapter or of a model."""
    if one.kind is not None:
        return one
    found = cached_file(one.spec, ADAPTER, _raise_exceptions_for_missing_entries=False,
                        _raise_exceptions_for_connection_errors=False, _raise_exceptions_for_gated_repo=False)  # fmt: skip
    return Weights(one.spec, "model" if found is None else "adapter", one.name, one.given)


def _variants(
    weights: list[Weights], sources: list[TextSource], tasks: dict[str, list[str]]
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """What the configuration says of each variant, and how it came to that."""
    named, remarks = named_apart(weights), []
    repeats, domains = _repeats(named, remarks), {record.domain for source in sources for record in source.records}
    known: set[str] = set()
    seen: set[str] = set()
    found: dict[str, dict[str, Any]] = {}
    for name, one in named.items():
        entry: dict[str, Any] = {one.kind: os.path.abspath(one.spec) if Path(one.spec).exists() else one.spec}  # noqa: PTH100
        if one.series is not None:
            entry |= {"series": as_series(one.series), "step": one.step}
        called = [name, entry.get("series", name), recipe(one.series or name)[0]]
        is_first = name not in repeats if one.series is None else one.series not in seen  # others have what that has
        known |= {*called}
        seen |= {one.series or ""}
        asked = next((tasks[of] for of in called if of in tasks), None)
        if is_first and (task := asked or trained_for(one, name, domains)):
            entry["task"] = task
            remarks += [] if asked else [f"'{called[1]}' is taken to be trained for {listed(task)}, by its name."]
        if name in repeats:
            entry["replicate_of"] = repeats[name]
        found[name] = entry
    runs = Counter(repeats.values())
    remarks += [f"'{name}' and {count} more are taken as runs of one recipe, by their names." for name, count in runs.items()]
    if strange := sorted(tasks.keys() - known):
        raise UserError(f"--task names '{strange[0]}', which is no variant; choose from {listed(found)}.")
    return found, remarks


def _tokens(config: RunConfig, sources: list[TextSource], saes: Chosen) -> int:
    """How many tokens the usual budget finds; a corpus that has fewer is read whole."""
    records = [record for source in sources for record in source.records]
    return read_text(config, records, wants_bos(config, saes.read), quiet=True).corpus.n_tokens


def _absolute(entry: dict[str, str]) -> dict[str, str]:
    return {"path": os.path.abspath(entry["path"])} if "path" in entry else entry  # noqa: PTH100


def _repeats(named: dict[str, Weights], remarks: list[str]) -> dict[str, str]:
    """Variant -> the run of its recipe that it repeats, by name and settings."""
    found = {}
    for name, first in replicates(named).items():
        if apart := settings_apart(named[name], named[first]):
            remarks.append(
                f"'{name}' is called like another run of '{first}' and is none: their settings differ ({listed(apart)})."
            )
        else:
            found[name] = first
    return found


def _settings(content: dict[str, Any], base: str, shape: Any, saes: Chosen, parts: Parts) -> list[str]:
    """Windows, BOS and chat template, where what was found asks for others than the usual."""
    remarks = []
    sizes = [said(one.settings, "context_size") for one in saes.read]
    sizes.append(getattr(shape, "max_position_embeddings", None))
    least = min([size for size in sizes if type(size) is int and size >= 8], default=DEFAULT["context_length"])
    if least < DEFAULT["context_length"]:
        content["context_length"] = least
        remarks.append(f"Windows of {least} tokens: the dictionaries, or the base, know no longer ones.")
    wishes = Counter(one.prepend_bos for one in saes.read)
    if len(wishes) > 1:
        content["prepend_bos"] = max(wishes, key=lambda wish: (wishes[wish], wish))
        remarks.append(f"The dictionaries differ in whether a BOS goes before a window: {content['prepend_bos']} is of most.")
    if (wishes[True] or not wishes) and content.get("prepend_bos") is not False and load_tokenizer(base).bos_token_id is None:
        content["prepend_bos"] = False
        remarks.append("The tokenizer has no BOS, so that none goes before a window.")
    if len(parts.templates) == 1:
        content["chat_template"] = os.path.abspath(parts.templates[0])  # noqa: PTH100 - links stay
        remarks.append(f"Conversations are rendered by '{parts.templates[0].name}'.")
    else:
        parts.unused += [(str(file), "one of several chat templates") for file in parts.templates]
    return remarks


def _neutral(content: dict[str, Any], config: RunConfig, sources: list[TextSource]) -> list[str]:
    """Domains that no variant was trained for, where it is known of each what it was trained for."""
    domains = {record.domain for source in sources for record in source.records}
    neutral = sorted(domains - set(config.tasks(config.variants)))
    if not neutral or not all(variant.task for variant in config.variants.values()):
        return []
    content["neutral_domains"] = neutral
    return [f"No variant was trained for {listed(neutral)}: taken as neutral."]


def _missing(config: RunConfig) -> list[str]:
    """What would make more of the run."""
    alone = [first for first, runs in groups(config).items() if len(runs) == 1 and config.variants[first].series is None]
    series = {variant.series for variant in config.variants.values() if variant.series} - {
        config.variants[name].series for runs in groups(config).values() if len(runs) > 1 for name in runs
    }
    lonely = [*alone, *sorted(series)]
    untold = [name for name, variant in config.variants.items() if not variant.task]
    return [
        *([f"A second run of the same recipe with another seed, of {listed(lonely)}: without it nothing can be claimed of its "
           "features, and every change is told as that of this run only."] if lonely else []),
        *([f"The task of {listed(untold)}: without it nothing is said of what was learned and what it cost; give domains of "
           "the corpus, task: [domain], or --task name=domain."] if untold else []),
        *(["A neutral domain, text that no variant was trained for: without it did_shift is not told (neutral_domains)."]
          if not config.neutral_domains else []),
    ]  # fmt: skip


def tokens_of(draft: Draft) -> list[int | None]:
    """Of each source, how many of its tokens would be read; None where that is not known."""
    text, config = draft.report.text, draft.config
    if text is None or config.tokens > CHECKED_TOKENS:
        return [None] * len(draft.sources)
    return _tokens_by_file(draft, text.corpus)


def _tokens_by_file(draft: Draft, corpus: Corpus) -> list[int | None]:
    files = {record.source: record.file for record in draft.report.records}
    counts: Counter[str] = Counter()
    for document in corpus.documents:
        counts[files[document.source]] += len(document)
    names = iter(dict.fromkeys(record.file for record in draft.report.records))  # as the sources stand, file by file
    return [sum(counts[name] for name in islice(names, len(source.lines))) for source in draft.sources]
