"""``check``: what a run would do and need, worked out without loading weights."""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from transformers import PretrainedConfig

from extract.answers import read_answers
from extract.config import RunConfig, SaeConfig, VariantConfig
from extract.memory import Needs, needs, parameters
from extract.models import model_config, resolve_device, resolve_dtype
from extract.records import check_domains, read_records
from extract.token_kl import check_predictions
from extract.variants import variant_kind, variant_source
from store.errors import UserError
from store.names import BASE, RANKINGS

# Measured on this project's demo: Gemma 3 270M to layer 15 takes 1.65 ms a token on 2 cores, 0.18 GFLOP.
CPU_FLOPS = 1.1e11
# The token KL there takes 22 ms a token for base and one variant: 9 ms a model beyond its blocks, for 0.34 GFLOP of the head.
HEAD_FLOPS = 3.7e10
BYTES_A_CODE = 5.5
CODES_A_TOKEN = 64
USUAL_D_SAE = 16_384


@dataclass
class Report:
    """What ``check`` found.

    Attributes:
        lines: what would run, for people.
        problems: what is missing or wrong; empty where the run can start.
    """

    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def check(config: RunConfig) -> Report:
    """Look at every input, and estimate time, memory and disk; weights are not loaded."""
    report = Report()
    base = _attempt(report, lambda: model_config(config.base))
    if base is not None:
        report.lines.append(
            f"base      {config.base}: {base.num_hidden_layers} layers, d_model {base.hidden_size}, "
            f"about {parameters(base) / 1e6:,.0f}M parameters"
        )
    for name, variant in config.variants.items():
        _attempt(report, lambda name=name, variant=variant: _check_variant(name, variant))
        report.lines.append(f"variant   {name}: {variant_kind(variant)} {variant_source(variant)}")
    for sae in config.saes:
        _attempt(report, lambda sae=sae: _check_sae(sae))
        report.lines.append(f"sae       {sae.name}" + ("" if sae.path else " (from the hub or its cache, checked when loaded)"))
    records = _attempt(report, lambda: read_records(config.corpus))
    if records is not None:
        domains = sorted({record.domain for record in records})
        report.lines.append(f"corpus    {len(records):,} documents in {len(domains)} domains: {', '.join(domains)}")
        _attempt(report, lambda: check_domains(config, records))
    if config.answers is not None:
        _attempt(report, lambda: report.lines.append(_answers_line(config)))
    needed = None if base is None else _attempt(report, lambda: _memory(config, base))
    if needed is not None:
        report.lines += _needs(config, base, needed)
    return report


def _memory(config: RunConfig, base: PretrainedConfig) -> Needs:
    """Which way the run will go with its models.

    Raises:
        UserError: there is no such device, or the run cannot go that way.
    """
    device = resolve_device(config.device)
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


def _needs(config: RunConfig, base: PretrainedConfig, needed: Needs) -> list[str]:
    """Estimates, each from the rate it says."""
    n_models = 1 + len(config.variants)
    disk = config.tokens * CODES_A_TOKEN * n_models * len(config.saes) * BYTES_A_CODE + _context_bytes(config)
    seconds = config.tokens * n_models * 2 * parameters(base, embeddings=False) / CPU_FLOPS
    free = shutil.disk_usage(Path.cwd()).free
    return [
        f"tokens    {config.tokens:,} in windows of {config.context_length}, {n_models} models, {len(config.saes)} layers",
        _memory_line(config, needed),
        f"disk      at most about {disk / 1e6:,.0f} MB while it runs (codes of {CODES_A_TOKEN} features a token, contexts), "
        f"{free / 1e9:,.0f} GB free here",
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


def _context_bytes(config: RunConfig) -> float:
    """At most: every feature with all its contexts, staged once and sorted once; two values and an id for each token."""
    features = sum(_d_sae(sae) for sae in config.saes)
    window = config.context_before + config.context_after + 1
    return 2 * features * len(config.variants) * len(RANKINGS) * config.contexts * window * 12


def _d_sae(sae: SaeConfig) -> int:
    """Features of a dictionary in a folder; of one from the hub, what is usual."""
    file = Path(sae.path or "") / "cfg.json"
    return json.loads(file.read_text(encoding="utf-8")).get("d_sae", USUAL_D_SAE) if file.is_file() else USUAL_D_SAE


def _check_variant(name: str, variant: VariantConfig) -> None:
    if variant.model is not None:
        model_config(variant.model)
    elif variant.adapter is not None and Path(variant.adapter).is_absolute():
        folder = Path(variant.adapter)
        if not (folder / "adapter_config.json").is_file():
            raise UserError(f"There is no PEFT adapter for the variant '{name}' at '{folder}' (no adapter_config.json).")


def _check_sae(sae: SaeConfig) -> None:
    if sae.path is not None and not (Path(sae.path) / "cfg.json").is_file():
        raise UserError(f"There is no dictionary at '{sae.path}' (no cfg.json); give a folder that sae-lens saved.")


def _attempt(report: Report, step):
    """Run a step; a user's error goes to the report instead of ending the check."""
    try:
        return step()
    except UserError as error:
        report.problems.append(str(error))
        return None
