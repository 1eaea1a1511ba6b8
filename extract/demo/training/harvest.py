"""Residuals of the base on text, kept on disk for several epochs of dictionary training."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from extract.demo.data import training_sets as datasets
from extract.demo.data.chat import encode_chat
from extract.models.hooks import capture_activations, run_truncated
from extract.models.sites import Site
from store.metrics.thresholds import SINK_FACTOR
from store.points import RESID_POST

CONTEXT_SIZE = 128
STATE = "harvest.json"
STORED_SCALE = 1 / 16  # residuals reach beyond float16's 65,504 at the later layers


def contexts(items: Sequence[dict], tokenizer: PreTrainedTokenizerBase, size: int = CONTEXT_SIZE) -> Iterator[list[int]]:
    """Documents cut into contexts of at most ``size`` token ids, each beginning with BOS; shreds under 16 are dropped."""
    for item in items:
        if "text" in item:
            ids = tokenizer.encode(item["text"], add_special_tokens=False)
        else:
            ids = encode_chat(tokenizer, datasets.as_messages(item))[0][1:]
        for start in range(0, len(ids), size - 1):
            piece = ids[start : start + size - 1]
            if len(piece) >= 16:
                yield [tokenizer.bos_token_id, *piece]


def residual_batches(
    model: PreTrainedModel, groups: Sequence[list[list[int]]], layers: Sequence[int], pad_id: int
) -> Iterator[tuple[dict[int, torch.Tensor], torch.Tensor]]:
    """For each group of contexts: layer -> [tokens, d_model] float32 residuals, and [tokens] positions; no BOS, no padding."""
    with capture_activations(model, [Site(layer, RESID_POST) for layer in layers]) as captured:
        for group in groups:
            width = max(map(len, group))
            ids = torch.tensor([context + [pad_id] * (width - len(context)) for context in group])
            real = torch.arange(width) < torch.tensor([[len(context)] for context in group])
            run_truncated(model, ids.to(model.device), real.long().to(model.device))
            wanted = real.clone()
            wanted[:, 0] = False  # BOS
            positions = torch.arange(width).expand_as(wanted)[wanted]
            wanted = wanted.to(model.device)
            yield {site.layer: residual[wanted].float().cpu() for site, residual in captured.items()}, positions


def not_sink(residuals: dict[int, torch.Tensor], medians: dict[int, float]) -> torch.Tensor:
    """[tokens] whether a token is no attention sink: its norm is at most four times the median at every layer."""
    return torch.stack([values.norm(dim=-1) <= SINK_FACTOR * medians[layer] for layer, values in residuals.items()]).all(0)


@dataclass(frozen=True)
class Harvest:
    """Residuals on disk: ``residuals(layer)`` is [tokens, d_model] float16, multiplied by 1/16."""

    folder: Path
    rows: int
    d_model: int
    medians: dict[int, float]
    sinks: int

    def residuals(self, layer: int) -> np.ndarray:
        """The stored residuals of a layer, read into memory as needed."""
        return np.memmap(self._path(self.folder, layer), np.float16, "r", shape=(self.rows, self.d_model))

    @staticmethod
    def _path(folder: Path, layer: int) -> Path:
        return folder / f"layer_{layer:02d}.f16"

    @classmethod
    def load(cls, folder: Path, groups: int) -> "Harvest":
        """The first ``groups`` groups of a harvest."""
        saved = json.loads((folder / STATE).read_text(encoding="utf-8"))
        medians = {int(layer): value for layer, value in saved["medians"].items()}
        rows, sinks = saved["kept"][groups - 1], saved["sinks"][groups - 1]
        return cls(folder, rows, saved["d_model"], medians, sinks)


def harvest(
    model: PreTrainedModel, groups: Sequence[list[list[int]]], layers: Sequence[int], pad_id: int, folder: Path
) -> Harvest:
    """Run the base over all contexts and keep every token that counts.

    A harvest cut short resumes where it stopped, and a longer one extends a shorter one of the same text: the state file
    holds the running counts after each group, and rows past the last one written there are overwritten.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state_path = folder / STATE
    if state_path.is_file():
        state = json.loads(state_path.read_text(encoding="utf-8"))
    else:
        medians = _median_norms(model, groups[:2], layers, pad_id)
        state = {"kept": [], "sinks": [], "medians": medians, "d_model": model.config.hidden_size}
    medians = {int(layer): value for layer, value in state["medians"].items()}
    todo = groups[len(state["kept"]) :]
    with ExitStack() as stack:
        files = {layer: stack.enter_context(_writable(Harvest._path(folder, layer))) for layer in layers}
        for file in files.values():
            file.seek((state["kept"] or [0])[-1] * state["d_model"] * 2)
        batches = tqdm(residual_batches(model, todo, layers, pad_id), total=len(todo), unit="batch", desc="residuals")
        for number, (residuals, _) in enumerate(batches, 1):
            keep = not_sink(residuals, medians)
            for layer, values in residuals.items():
                files[layer].write((values[keep] * STORED_SCALE).to(torch.float16).numpy().tobytes())
            state["kept"].append((state["kept"] or [0])[-1] + int(keep.sum()))
            state["sinks"].append((state["sinks"] or [0])[-1] + int((~keep).sum()))
            if number % 16 == 0 or number == len(todo):
                for file in files.values():
                    file.flush()
                state_path.write_text(json.dumps(state), encoding="utf-8")
    return Harvest.load(folder, len(groups))


def _writable(path: Path) -> BinaryIO:
    path.touch()
    return path.open("r+b")


def _median_norms(model: PreTrainedModel, groups: Sequence, layers: Sequence[int], pad_id: int) -> dict[int, float]:
    batches = [residuals for residuals, _ in residual_batches(model, groups, layers, pad_id)]
    return {layer: torch.cat([batch[layer] for batch in batches]).norm(dim=-1).median().item() for layer in layers}
