"""How well saved dictionaries read the base on held-out text: FVU and L0 by domain, dead and dense features."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from sae_lens import SAE

from extract.demo.data import training_sets as datasets
from extract.demo.training.harvest import contexts, not_sink, residual_batches
from extract.models.sites import Site
from store.metrics.thresholds import DENSE

TOKENS_PER_DOMAIN = 5_000


@dataclass
class Fit:
    """Additive sums of one dictionary on one domain."""

    d_sae: int
    d_model: int
    tokens: int = 0
    error: float = 0.0
    """Sum of squared reconstruction errors."""
    squares: float = 0.0
    """Sum of squared norms."""
    active: float = 0.0
    """Sum over tokens of the number of active features."""
    total: torch.Tensor = field(init=False)
    """[d_model] sum of residuals, float64."""
    fired: torch.Tensor = field(init=False)
    """[d_sae] tokens on which each feature fires."""

    def __post_init__(self) -> None:
        self.total = torch.zeros(self.d_model, dtype=torch.float64)
        self.fired = torch.zeros(self.d_sae, dtype=torch.int64)

    @torch.no_grad()
    def add(self, sae: SAE, residuals: torch.Tensor) -> None:
        """Add raw residuals [tokens, d_model]."""
        codes = sae.encode(residuals)
        self.tokens += len(residuals)
        self.error += (residuals - sae.decode(codes)).double().pow(2).sum().item()
        self.squares += residuals.double().pow(2).sum().item()
        self.total += residuals.double().sum(0)
        self.active += (codes > 0).sum().item()
        self.fired += (codes > 0).sum(0)

    @property
    def fvu(self) -> float:
        """Fraction of variance unexplained about this domain's own mean."""
        variance = self.squares - self.total.pow(2).sum().item() / self.tokens
        return self.error / variance

    @property
    def l0(self) -> float:
        """Mean number of active features a token."""
        return self.active / self.tokens


def held_out_residuals(
    model, tokenizer, layers: list[int], medians: dict[int, float]
) -> Iterator[tuple[str, dict[int, torch.Tensor]]]:
    """(domain, layer -> [tokens, d_model]) of about 5,000 held-out tokens a domain, without BOS and sinks."""
    for path in sorted(datasets.CORPUS.glob("*.jsonl")):
        chosen, count = [], 0
        for context in contexts(datasets.read_jsonl(path), tokenizer):
            if count >= TOKENS_PER_DOMAIN:
                break
            chosen.append(context)
            count += len(context) - 1
        groups = [chosen[start : start + 16] for start in range(0, len(chosen), 16)]
        for residuals, _ in residual_batches(model, groups, layers, tokenizer.pad_token_id):
            keep = not_sink(residuals, medians)
            yield path.stem, {layer: values[keep] for layer, values in residuals.items()}


def measure_saes(saes: dict[str, SAE], model, tokenizer, medians: dict[int, float]) -> dict[str, dict]:
    """Figures of every dictionary: by domain ``fvu`` and ``l0``; over all held-out tokens the dead and dense shares."""
    layer_of = {name: Site.of_hook(sae.cfg.metadata.hook_name).layer for name, sae in saes.items()}
    fits: dict[str, dict[str, Fit]] = {name: {} for name in saes}
    for domain, residuals in held_out_residuals(model, tokenizer, sorted(set(layer_of.values())), medians):
        for name, sae in saes.items():
            fit = fits[name].setdefault(domain, Fit(sae.cfg.d_sae, sae.cfg.d_in))
            fit.add(sae, residuals[layer_of[name]])
    return {name: summary(by_domain) for name, by_domain in fits.items()}


def summary(by_domain: dict[str, Fit]) -> dict:
    """Rounded figures of one dictionary from its sums by domain."""
    tokens = sum(fit.tokens for fit in by_domain.values())
    fired = torch.stack([fit.fired for fit in by_domain.values()]).sum(0)
    return {
        "tokens": tokens,
        "dead_share": round((fired == 0).double().mean().item(), 4),
        "dense_share": round((fired > DENSE * tokens).double().mean().item(), 4),
        "l0": round(sum(fit.active for fit in by_domain.values()) / tokens, 1),
        "domains": {
            domain: {"tokens": fit.tokens, "fvu": round(fit.fvu, 4), "l0": round(fit.l0, 1)}
            for domain, fit in sorted(by_domain.items())
        },
    }
