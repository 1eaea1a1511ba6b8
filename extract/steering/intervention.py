"""The causal check of one feature: give the variant back what it lacks of it, or take away what it has more of, and see
whether its next-token prediction comes nearer to the base's; beside it the same amounts along other features' directions.
"""

from collections.abc import Callable

import numpy as np
import torch
from scipy import stats

from extract.config import RunConfig
from extract.corpus.batches import Batch
from extract.models.model_set import ModelSet
from extract.models.predictions import Predictions, divergence, pieces
from extract.models.residuals import read_residuals
from extract.progress import progress_bar
from extract.saes.dictionary import Dictionary
from extract.saes.dictionary_set import sites_of
from extract.steering.check_models import load_for_check
from extract.steering.plan import Passage, Plan
from store.errors import UserError
from store.metrics.thresholds import LEVEL
from store.names import BASE
from store.read.store import Store
from store.sidecar.steering import MIN_CONTEXTS, RESTORE, Steering

Change = Callable[[torch.Tensor], torch.Tensor]


def steer(store: Store, config: RunConfig, plan: Plan) -> Steering:
    """Make a causal check.

    Args:
        config: the configuration that made the store.
        plan: from :func:`extract.steering.plan.make_plan`.

    Raises:
        UserError: a model or dictionary is missing or is not the one that the store was made with; a prediction is not finite.
    """
    intervention = _load(store, config, plan)
    kl = []
    with progress_bar(len(plan.passages), "steering", "context") as bar:
        for passage in plan.passages:
            kl.append(intervention.divergences(passage, plan))
            bar.update(1)
    n_positions = sum(len(passage.positions) for passage in plan.passages)
    return summary(plan, np.array(kl), n_positions)


def summary(plan: Plan, kl: np.ndarray, n_positions: int) -> Steering:
    """Means over contexts, and the paired interval of the change.

    Args:
        kl: float64 [contexts, 2 + controls], nats: untouched, along the feature's direction, along each control's.

    Raises:
        UserError: a divergence is NaN or infinite.
    """
    if not np.isfinite(kl).all():
        raise UserError(
            f"The predictions of the base and of '{plan.variant}' give a KL that is NaN or infinite; check their weights, or "
            "use a wider dtype."
        )
    before, after, *controls = kl.mean(axis=0).tolist()
    low, high = paired_interval(kl[:, 1] - kl[:, 0])
    return Steering(
        layer=plan.layer,
        feature=plan.feature,
        variant=plan.variant,
        mode=plan.mode,
        n_contexts=len(kl),
        n_positions=n_positions,
        kl_before=before,
        kl_after=after,
        low=low,
        high=high,
        controls=dict(zip(plan.controls, controls, strict=True)),
        seed=plan.seed,
    )


def paired_interval(differences: np.ndarray) -> tuple[float, float] | tuple[None, None]:
    """Student's 95 % interval of the mean of [n] differences; (None, None) below MIN_CONTEXTS of them."""
    if (n := len(differences)) < MIN_CONTEXTS:
        return None, None
    mean = float(differences.mean())
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1) * differences.std(ddof=1) / np.sqrt(n))
    return mean - half, mean + half


def amounts(mode: str, base: torch.Tensor, variant: torch.Tensor) -> torch.Tensor:
    """[n]: how far each token is moved along a unit direction, from scaled activations [n]: (a - b)+, or -(b - a)+."""
    return (base - variant).clamp_min(0) if mode == RESTORE else (base - variant).clamp_max(0)


def moved(hidden: torch.Tensor, by: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
    """Residuals with every token moved along its row's direction; in the dtype of ``hidden``.

    Args:
        hidden: [rows, position, d_model].
        by: float32 [position].
        directions: float32 [rows, d_model], unit length, or zero where nothing is to be moved.
    """
    return (hidden.float() + by[None, :, None] * directions[:, None, :]).to(hidden.dtype)


class Intervention:
    """Base and variant with one layer's dictionary, ready to be compared on passages.

    Args:
        bos: token id put before each window, or None.
        sink_norm: a token whose base norm is beyond it does not count, and is not moved.
    """

    def __init__(self, models: ModelSet, dictionary: Dictionary, bos: int | None, sink_norm: float) -> None:
        self.models, self.dictionary, self.sink_norm = models, dictionary, sink_norm
        self.lead = [] if bos is None else [bos]

    @torch.inference_mode()
    def divergences(self, passage: Passage, plan: Plan) -> np.ndarray:
        """float64 [2 + controls]: mean KL(base || variant) of the next token over the passage's positions, nats.

        The variant is left as it is, moved along the feature's direction, and along each control's.
        """
        input_ids = torch.tensor([[*self.lead, *passage.token_ids.tolist()]], device=self.models.device)
        by = self._amounts(input_ids, plan)
        directions = self._directions([plan.feature, *plan.controls])
        kept = torch.zeros_like(input_ids, dtype=torch.bool)
        kept[0, torch.from_numpy(passage.positions + len(self.lead))] = True
        words = self.models.shared_words([BASE, plan.variant])
        base = self._log_probabilities(BASE, input_ids, kept, words)
        found = []
        for some in pieces(len(directions), len(base) * words, base.dtype):
            rows = directions[some]
            repeated = input_ids.expand(len(rows), -1), kept.expand(len(rows), -1)
            variant = self._log_probabilities(plan.variant, *repeated, words, lambda hidden, rows=rows: moved(hidden, by, rows))
            found.append(divergence(base.repeat(len(rows), 1), variant).reshape(len(rows), -1).mean(1))
        return torch.cat(found).cpu().numpy()

    def _log_probabilities(
        self, name: str, input_ids: torch.Tensor, kept: torch.Tensor, words: int, change: Change | None = None
    ) -> torch.Tensor:
        """float64 [n, words]: of the next token at n kept tokens of windows [rows, position], where residuals are changed."""
        edit = None if change is None else lambda model: self.dictionary.site.edit(model, change)
        read = Predictions(self.models, name, input_ids, torch.ones_like(input_ids), kept, edit)
        return read.log_probabilities(slice(None), words, torch.float64)

    def _amounts(self, input_ids: torch.Tensor, plan: Plan) -> torch.Tensor:
        """float32 [position]: by how much each token is moved; 0 at BOS and at sinks."""
        rows = np.arange(input_ids.shape[1])[None] - len(self.lead)
        ids = input_ids.cpu().numpy()
        batch = Batch(ids, np.ones_like(ids), rows)
        _, residuals = read_residuals(self.models, [BASE, plan.variant], batch, sites_of([self.dictionary]))
        seen, own = self.dictionary.reads, self.dictionary
        read = {name: own.prepare(of_model[seen], seen) for name, of_model in residuals.items()}
        base, variant = (self._activations(read[name], plan.feature) for name in (BASE, plan.variant))
        counts = self.dictionary.prepare(residuals[BASE][self.dictionary.site]).norm(dim=1) <= self.sink_norm
        by = torch.zeros(input_ids.shape[1], device=base.device)
        by[len(self.lead) :] = torch.where(counts, amounts(plan.mode, base, variant), 0.0).float()
        return by

    def _activations(self, residuals: torch.Tensor, feature: int) -> torch.Tensor:
        """float64 [n]: the feature's scaled activations in residuals [n, d_model]."""
        codes, _ = self.dictionary.encode(residuals)
        here = codes.feature == feature
        raw = torch.zeros(codes.n_rows, dtype=torch.float64, device=residuals.device)
        raw[codes.row[here]] = codes.value[here].double()
        return raw * self.dictionary.decoder_norm[feature]

    def _directions(self, features: list[int]) -> torch.Tensor:
        """float32 [1 + features, d_model]: nothing, then each feature's unit decoder direction."""
        unit = self.dictionary.decoder[features] / self.dictionary.decoder_norm[features][:, None]
        return torch.cat([torch.zeros_like(unit[:1]), unit]).float()


def _load(store: Store, config: RunConfig, plan: Plan) -> Intervention:
    """What the check is made with.

    Raises:
        UserError: as :func:`extract.steering.check_models.load_for_check`.
    """
    loaded = load_for_check(store, config, plan.variant, plan.layer)
    return Intervention(loaded.models, loaded.dictionary(plan.layer), loaded.bos, loaded.sinks[plan.layer])
