"""A small world's store with contributions beside it, and a dense second implementation of what they are."""

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import torch
from peft import PeftModel
from sae_lens import SAE
from transformers import AutoModelForCausalLM

from extract.__main__ import main
from store import open_store
from store.format.additions import addition_path
from tests.support.world import World, one_thread

ASKED = ("--predictions", "60", "--passage", "8", "--points", "5")


def make_contributed(world: World, folder: Path) -> tuple[Path, Path]:
    """(configuration, store) of the small world with two twins, whose contributions are beside it."""
    config = world.config(folder, twins=2, variants={"tuned": {"adapter": str(world.adapter), "task": ["chats"]}})
    with one_thread():
        assert main(["run", str(config), "--out", str(folder / "store")]) == 0
        assert main(["contributions", str(folder / "store"), str(config), *ASKED]) == 0
    return config, folder / "store"


def table(store: Path, name: str) -> pd.DataFrame:
    """A table of the contributions beside a store."""
    with duckdb.connect(str(addition_path(store)), read_only=True) as connection:
        return connection.execute(f"SELECT * FROM {name}").df()


class Reference:
    """By transformers, PEFT and sae-lens alone: whole sequences, dense codes, one passage at a time."""

    def __init__(self, world: World, store: Path) -> None:
        base = AutoModelForCausalLM.from_pretrained(world.base).eval()
        self.model = PeftModel.from_pretrained(base, world.adapter).eval()
        self.blocks = base.model.layers
        self.saes = {layer: SAE.load_from_disk(path) for layer, path in world.saes.items()}
        with open_store(store) as opened:
            self.tokens = opened.sql("SELECT document, position, context, token_id FROM tokens ORDER BY document, position")
            self.pilot, factor = opened.manifest.pilot, opened.manifest.settings["sink_factor"]
        self.sinks = {layer: factor * self.pilot[str(layer)]["median_norm"] for layer in self.saes}

    def forward(self, ids: torch.Tensor, layer: int, replaced: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """(the block's output, log-probabilities) [position, ...] of a sequence, where that output may be replaced."""
        seen = []

        def hook(_module, _inputs, output):
            hidden = output[0] if isinstance(output, tuple) else output
            seen.append(hidden[0])
            if replaced is None:
                return output
            return (replaced[None], *output[1:]) if isinstance(output, tuple) else replaced[None]

        handle = self.blocks[layer].register_forward_hook(hook)
        logits = self.model(ids[None]).logits[0]
        handle.remove()
        return seen[0], logits.log_softmax(1)

    def read(self, there: torch.Tensor) -> torch.Tensor:
        """What the dictionary reads where :meth:`forward` last gave what is ``there``."""
        return there

    def likelihoods(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Of a passage's predictions: log-likelihood of base and variant, and KL."""
        ids, at = self._window(rows)
        with torch.no_grad():
            with self.model.disable_adapter():
                of_base = self.model(ids[None]).logits[0].log_softmax(1)[at]
            of_variant = self.model(ids[None]).logits[0].log_softmax(1)[at]
        following = ids[at + 1]
        place = torch.arange(len(at))
        kl = (of_base.exp() * (of_base - of_variant)).sum(1)
        found = {"base_logprob": of_base[place, following], "variant_logprob": of_variant[place, following], "kl": kl}
        return pd.DataFrame({name: values.numpy() for name, values in found.items()}, index=rows.index)

    def _window(self, rows: pd.DataFrame) -> tuple[torch.Tensor, torch.Tensor]:
        """(the token ids of a passage's window, with BOS; places in it of the tokens after which is predicted)."""
        tokens = self.tokens[self.tokens["document"] == rows["document"].iloc[0]].set_index("position")
        positions = rows["position"].to_numpy()
        window = tokens[tokens["context"] == tokens.loc[positions[0], "context"]]
        return torch.tensor([2, *window["token_id"]]), torch.tensor(positions - window.index[0] + 1)

    def passage(self, rows: pd.DataFrame, layer: int) -> dict[str, np.ndarray | float]:
        """Of a passage: likelihoods and KL by prediction; weighted sums of what passes through a layer, and by feature [d_sae].

        Args:
            rows: its predictions.
        """
        ids, at = self._window(rows)
        weights = torch.tensor(rows["weight"].array)
        following = ids[at + 1]
        likelihood = lambda found: found[at, following]  # noqa: E731
        with torch.no_grad():
            with self.model.disable_adapter():
                base, of_base = self.forward(ids, layer)
                read_base = self.read(base)
            variant, of_variant = self.forward(ids, layer)
            read_variant = self.read(variant)
        kl = lambda found: (of_base[at].exp() * (of_base[at] - found[at])).sum(1)  # noqa: E731
        counts = base.norm(dim=1) <= self.sinks[layer]
        counts[0] = False
        delta = torch.where(counts[:, None], variant - base, 0.0)
        with torch.no_grad():
            codes = (self.saes[layer].encode(read_variant) - self.saes[layer].encode(read_base)) * counts[:, None]
            _, end = self.forward(ids, layer, variant - delta)
        by_feature = {}
        for name, target in (("gain", likelihood), ("kl", kl)):
            gradient = 0
            for node, weight in zip(*np.polynomial.legendre.leggauss(8), strict=True):
                there = (variant - (1 + float(node)) / 2 * delta).requires_grad_(True)
                [found] = torch.autograd.grad((weights * target(self.forward(ids, layer, there)[1])).sum(), there)
                gradient = gradient + found * weight / 2
            by_feature[name] = ((gradient @ self.saes[layer].W_dec.T) * codes).sum(0).detach().double().numpy()
        return {
            "base": likelihood(of_base), "variant": likelihood(of_variant), "divergence": kl(of_variant),
            "gain": float((weights * (likelihood(of_variant) - likelihood(end))).sum()),
            "kl": float((weights * (kl(of_variant) - kl(end))).sum()), "by_feature": by_feature,
        }  # fmt: skip

    def without(self, rows: pd.DataFrame, layer: int, feature: int) -> float:
        """What goes of the weighted log-likelihood of a passage where one feature's change is undone."""
        ids, at = self._window(rows)
        with torch.no_grad():
            with self.model.disable_adapter():
                base, _ = self.forward(ids, layer)
            variant, whole = self.forward(ids, layer)
            counts = base.norm(dim=1) <= self.sinks[layer]
            counts[0] = False
            sae = self.saes[layer]
            change = (sae.encode(variant) - sae.encode(base))[:, feature] * counts
            _, patched = self.forward(ids, layer, variant - change[:, None] * sae.W_dec[feature])
        return float((torch.tensor(rows["weight"].array) * (whole - patched)[at, ids[at + 1]]).sum())
