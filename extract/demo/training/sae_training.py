"""Training the dictionaries: BatchTopK with sae-lens on centred, scaled residuals, saved as JumpReLU for raw ones.

The residual stream has a mean of about 0.95 of its norm, so it is centred and scaled to mean squared norm ``d_model``
before training. Both are folded into the saved weights: ``encode`` takes the raw residual of the block's output. Weights
are kept in float16 and biases in float32, because the mean inside ``b_dec`` is thousands of times a feature's threshold.
"""

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from sae_lens import SAE
from sae_lens.config import LoggingConfig, SAETrainerConfig
from sae_lens.saes.batchtopk_sae import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
from sae_lens.saes.sae import SAEMetadata
from sae_lens.training.sae_trainer import SAETrainer
from safetensors.torch import load_file, save_file

from extract.demo.data import training_sets as datasets
from extract.demo.data.build import write_card
from extract.demo.training.fine_tuning import public_name
from extract.demo.training.harvest import CONTEXT_SIZE, STORED_SCALE, Harvest, contexts, harvest
from extract.demo.training.sae_quality import measure_saes
from extract.models.loading import cache_dir, load_model, load_tokenizer, resolve_device
from store.errors import UserError

SAES = datasets.HERE / "saes"
LAYERS = (5, 9, 12, 15)
SECOND_SEED_LAYER = 12
GROUP = 32  # contexts a forward pass


@dataclass(frozen=True)
class Settings:
    """Settings of a family of dictionaries."""

    d_sae: int
    k: int
    """Mean number of active features that BatchTopK keeps in training."""
    tokens: int
    """Training tokens, before sinks are left out."""
    epochs: int
    learning_rate: float = 8e-4
    batch: int = 1024
    seed: int = 1


SETTINGS = Settings(d_sae=4096, k=56, tokens=2_000_000, epochs=1)
"""Of the dictionaries that ship."""


def folder_name(layer: int, seed: int) -> str:
    """``layer_12``, and ``layer_12_seed2`` for another seed."""
    return f"layer_{layer:02d}" + (f"_seed{seed}" if seed != 1 else "")


def shuffled_batches(
    rows: np.ndarray, mean: torch.Tensor, scale: float, size: int, generator: np.random.Generator
) -> Iterator[torch.Tensor]:
    """Endless epochs of [size, d_model] float32 batches in random order, centred and scaled."""
    while True:
        order = generator.permutation(len(rows))
        for start in range(0, len(order) - size + 1, size):
            raw = torch.from_numpy(rows[np.sort(order[start : start + size])].astype(np.float32)) / STORED_SCALE
            yield (raw - mean) * scale


def centring(rows: np.ndarray, sample: int = 100_000) -> tuple[torch.Tensor, float]:
    """Mean [d_model] of the raw residuals and the factor that brings their spread to mean squared norm ``d_model``."""
    chosen = torch.from_numpy(rows[:: max(1, len(rows) // sample)].astype(np.float32)) / STORED_SCALE
    mean = chosen.mean(0)
    return mean, ((chosen.shape[1] / (chosen - mean).pow(2).sum(-1).mean()) ** 0.5).item()


def train_sae(rows: np.ndarray, layer: int, settings: Settings, base_name: str) -> BatchTopKTrainingSAE:
    """Train one dictionary and fold centring and scale into it, so that it takes raw residuals."""
    torch.manual_seed(settings.seed)
    mean, scale = centring(rows)
    metadata = _metadata(layer, settings, base_name)
    config = BatchTopKTrainingSAEConfig(d_in=rows.shape[1], d_sae=settings.d_sae, k=settings.k, metadata=metadata)
    sae = BatchTopKTrainingSAE(config)
    samples = len(rows) // settings.batch * settings.batch * settings.epochs
    steps = samples // settings.batch
    trainer = SAETrainer(
        cfg=SAETrainerConfig(
            total_training_samples=samples,
            train_batch_size_samples=settings.batch,
            lr=settings.learning_rate,
            lr_end=settings.learning_rate / 10,
            lr_warm_up_steps=min(100, steps // 10),
            lr_decay_steps=steps // 4,
            dead_feature_window=200,
            logger=LoggingConfig(log_to_wandb=False),
        ),
        sae=sae,
        data_provider=shuffled_batches(rows, mean, scale, settings.batch, np.random.default_rng(settings.seed)),
    )
    trainer.fit()
    calibrate(sae, next(shuffled_batches(rows, mean, scale, min(len(rows), 16 * settings.batch), np.random.default_rng(0))))
    fold_centring(sae, mean, scale)
    return sae


@torch.no_grad()
def calibrate(sae: BatchTopKTrainingSAE, batch: torch.Tensor) -> None:
    """Set the threshold that keeps ``k`` features a token on ``batch`` [tokens, d_model].

    sae-lens follows the smallest kept activation with a slow average, which a short training leaves too low.
    """
    kept = torch.cat([sae.encode_with_hidden_pre(part)[1].flatten() for part in batch.split(1024)])
    sae.topk_threshold.fill_(kept.kthvalue(len(kept) - int(sae.cfg.k * len(batch))).values)


@torch.no_grad()
def fold_centring(sae: BatchTopKTrainingSAE, mean: torch.Tensor, scale: float) -> None:
    """Make a dictionary of ``(x - mean) * scale`` one of ``x``, with unit decoder rows, so codes are in residual units."""
    sae.fold_activation_norm_scaling_factor(scale)
    sae.b_dec.data += mean
    sae.fold_W_dec_norm()


def _metadata(layer: int, settings: Settings, base_name: str) -> SAEMetadata:
    return SAEMetadata(
        model_name=base_name,
        hook_name=f"blocks.{layer}.hook_resid_post",
        hf_hook_name=f"model.layers.{layer}.output",
        prepend_bos=True,
        context_size=CONTEXT_SIZE,
        dataset="featureshift demo training text",
        seed=settings.seed,
    )


def save_sae(sae: BatchTopKTrainingSAE, folder: Path) -> None:
    """Save for inference the way sae-lens does, as JumpReLU, with the two large matrices in float16."""
    weights, _ = sae.save_inference_model(folder)
    tensors = load_file(weights)
    for name in ("W_enc", "W_dec"):
        tensors[name] = tensors[name].to(torch.float16)
    save_file({name: value.contiguous() for name, value in tensors.items()}, weights)
    weights.chmod(0o644)
    config = json.loads((folder / "cfg.json").read_text(encoding="utf-8"))
    write_card(folder / "cfg.json", config)


def train_saes(base: str, tokens: int | None = None, out: Path | None = None) -> None:
    """Harvest residuals, train a dictionary for every layer and write ``card.json``; a finished layer is kept.

    Layer 12 gets a second seed as well, for "would another dictionary show the same?".

    Raises:
        UserError: the training text is not built, or too little of it.
    """
    size = SETTINGS if tokens is None else replace(SETTINGS, tokens=tokens)
    if size.tokens < 2 * size.batch:
        raise UserError(f"A dictionary needs at least {2 * size.batch} training tokens; give --tokens a larger number.")
    folder = out or SAES
    model, tokenizer = load_model(base, device=resolve_device("auto")), load_tokenizer(base)
    began = time.monotonic()
    gathered = gather(model, tokenizer, size.tokens)
    seeds = [(layer, 1) for layer in LAYERS] + [(layer, 2) for layer in LAYERS if layer == SECOND_SEED_LAYER]
    for layer, seed in seeds:
        target = folder / folder_name(layer, seed)
        if (target / "cfg.json").is_file():
            print(f"{target.name}: already trained")
            continue
        print(f"{target.name}: {gathered.rows:,} tokens, {size.epochs} epochs, {size.d_sae:,} features", flush=True)
        rows = np.array(gathered.residuals(layer))
        save_sae(train_sae(rows, layer, replace(size, seed=seed), public_name(base)), target)
    earlier = json.loads((folder / "card.json").read_text(encoding="utf-8")) if (folder / "card.json").is_file() else {}
    wall = round(time.monotonic() - began) + earlier.get("wall_seconds", 0)
    card = {
        "base": public_name(base),
        "data": {"training_tokens": gathered.rows, "sinks_left_out": gathered.sinks, "text": "general training text"},
        "settings": asdict(size) | {"context_size": CONTEXT_SIZE, "layers": LAYERS, "saved": "JumpReLU, float16 weights"},
        "wall_seconds": wall,
        "held_out": measure_folder(folder, model, tokenizer, gathered.medians),
    }
    write_card(folder / "card.json", card)


def gather(model, tokenizer, tokens: int) -> Harvest:
    """The harvest of the first ``tokens`` tokens of the general training text, from the cache where it is there."""
    path = datasets.training_folder() / "general.jsonl"
    items = datasets.read_jsonl(path)
    chosen, count = [], 0
    for context in contexts(items, tokenizer):
        if count >= tokens:
            break
        chosen.append(context)
        count += len(context) - 1
    groups = [chosen[start : start + GROUP] for start in range(0, len(chosen) - GROUP + 1, GROUP)]
    if not groups:
        raise UserError(f"A dictionary needs at least {GROUP * CONTEXT_SIZE} training tokens; give --tokens a larger number.")
    key = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    return harvest(model, groups, LAYERS, tokenizer.pad_token_id, cache_dir() / "demo" / f"harvest-{key}")


def measure_folder(folder: Path, model, tokenizer, medians: dict[int, float]) -> dict[str, dict]:
    """Measure every dictionary of a folder as it lies on disk, on held-out text."""
    names = sorted(path.parent.name for path in folder.glob("layer_*/cfg.json"))
    return measure_saes(
        {name: SAE.load_from_disk(str(folder / name), dtype="float32") for name in names}, model, tokenizer, medians
    )
