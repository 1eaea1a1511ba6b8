"""What a run takes in time, memory and disk, estimated from shapes: lines of ``check``, for people."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from transformers import PretrainedConfig

from extract.config import A_PASSAGE, READ, READ_PASSAGE, RunConfig
from extract.models.memory import Needs, parameters
from extract.pilot.controls import RERUN_EVERY
from extract.pilot.twin_sizes import MOST_READINGS, SAMPLE_TOKENS
from extract.saes.dictionary import Dictionary
from store.names import RANKINGS

# Measured on this project's demo: Gemma 3 270M to layer 15 takes 1.65 ms a token on 2 cores, 0.18 GFLOP.
CPU_FLOPS = 1.1e11
# The token KL there takes 22 ms a token for base and one variant: 9 ms a model beyond its blocks, for 0.34 GFLOP of the head.
HEAD_FLOPS = 3.7e10
# Contributions there: points of the way from variant to base at a layer, each a pass forwards and one backwards for gain and
# for KL; and the share of a window that is read up to the last of its predictions.
POINTS_TAKEN, PASSES, WINDOW_READ = 2.5, 3, 0.7
BYTES_A_CODE = 5.5
CODES_A_TOKEN = 64


def estimates(
    config: RunConfig,
    base: PretrainedConfig,
    needed: Needs,
    dictionaries: Sequence[Dictionary],
    out: Path | None,
    n_twins: int,
) -> list[str]:
    """A line for each, with the rate that it comes from.

    Args:
        needed: how the weights will be held.
        out: where the store would stand.
        n_twins: of all variants together.
    """
    beside = (out or Path("x")).absolute()
    above = next(folder for folder in (*beside.parents, beside) if folder.is_dir())
    n_models = 1 + len(config.variants)
    disk = config.tokens * CODES_A_TOKEN * n_models * len(config.saes) * BYTES_A_CODE + _context_bytes(config, dictionaries)
    a_model = config.tokens * 2 * parameters(base, embeddings=False) / CPU_FLOPS / 60
    again = 1 / RERUN_EVERY if "rerun" in config.controls else 0
    free = shutil.disk_usage(above).free
    return [
        f"tokens    {config.tokens:,} in windows of {config.context_length}, {n_models} models, {len(config.saes)} layers",
        _twins_line(config, n_twins, a_model),
        _memory_line(config, needed),
        f"disk      at most about {disk / 1e6:,.0f} MB while it runs (codes of {CODES_A_TOKEN} features a token, contexts), "
        f"{free / 1e9:,.0f} GB free there",
        f"time      about {a_model * (n_models + n_twins + again):,.0f} minutes of forward passes on two CPU cores "
        f"({CPU_FLOPS / 1e9:.0f} GFLOP/s)",
        *([_token_kl_line(config, base)] if config.token_kl else []),
        *([_contributions_line(config, base, dictionaries, needed)] if dictionaries and config.contributions != 0 else []),
    ]


def _twins_line(config: RunConfig, n_twins: int, minutes: float) -> str:
    """How many twins there are, and what they cost.

    Args:
        minutes: of one model's forward passes.
    """
    if not n_twins:
        return "twins     none, so that nothing tells training from chance: there will be no verdicts"
    return (
        f"twins     {config.twins} of each variant, {n_twins} in all: about {minutes * n_twins:,.0f} of the minutes of forward "
        f"passes, and in the pilot at most {MOST_READINGS} × {SAMPLE_TOKENS:,} tokens each"
    )


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


def _contributions_line(
    config: RunConfig, base: PretrainedConfig, dictionaries: Sequence[Dictionary], needed: Needs
) -> str:
    """The pass after the run: of every model and layer the blocks above, and the head, forwards and backwards."""
    if needed.one_at_a_time and config.twins <= 1:  # it loads one of each at most
        return "gains     none: what was learned is measured with all models at once, which do not fit into the memory together"
    predictions = config.predictions(config.tokens)
    n_models = config.measured_models
    blocks = 2 * parameters(base, embeddings=False) / CPU_FLOPS
    head = 2 * base.vocab_size * base.hidden_size / HEAD_FLOPS
    above = sum(1 - (dictionary.layer + 1) / base.num_hidden_layers for dictionary in dictionaries)
    patched = 1 + POINTS_TAKEN * PASSES
    tokens = WINDOW_READ * config.context_length / A_PASSAGE
    a_prediction = tokens * blocks * (1 + above * patched) + head * (1 + len(dictionaries) * patched)
    a_prediction += READ * (config.context_length / READ_PASSAGE * blocks + head)
    minutes = predictions * n_models * a_prediction / 60
    return (
        f"gains     {READ * predictions:,} predictions of {n_models} models, {predictions:,} of them taken apart, about "
        f"{minutes:,.0f} minutes more on two CPU cores, for what was learned and through which features"
    )


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
        f"memory    about {needed.sets * gigabytes:.1f} GB of weights ({needed.sets} set(s), all at a time; adapters and their "
        f"twins share the base's), {free}"
    )


def _context_bytes(config: RunConfig, dictionaries: Sequence[Dictionary]) -> float:
    """At most: every feature with all its contexts, staged once and sorted once; two values and an id for each token."""
    features = sum(dictionary.d_sae for dictionary in dictionaries)
    window = config.context_before + config.context_after + 1
    return 2 * features * len(config.variants) * len(RANKINGS) * config.contexts * window * 12
