"""One batch of passages taken apart: through which layers and features what every model predicts there became another."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from extract.contributions import sums
from extract.contributions.path import DIVERGENCE, LIKELIHOOD, Reading, Targets
from extract.contributions.quadrature import POINTS, rule
from extract.contributions.sample import Sample
from extract.contributions.split import FeatureChanges
from extract.contributions.windows import Windows
from extract.models.model_set import ModelSet
from extract.models.sites import Site
from extract.models.twins import variant_of
from extract.saes.codes import SparseCodes
from extract.saes.dictionary import Dictionary
from extract.saes.dictionary_set import sites_of
from store.errors import UserError
from store.names import BASE

TOLERANCE = 0.02
"""Of what passes through a layer in one batch the integrated gradients may miss so much; else they take more points."""


@dataclass(frozen=True)
class Contributions:
    """What every batch of the pass shares.

    Attributes:
        names: the variants and those twins that are measured, in the order of the models.
        sinks: layer -> a token whose base norm is beyond it does not count.
        points: of the way from variant to base that are taken first, of POINTS.
    """

    models: ModelSet
    names: list[str]
    dictionaries: list[Dictionary]
    sinks: Mapping[int, float]
    sample: Sample
    bos: int | None
    pad: int
    points: int

    @property
    def words(self) -> int:
        """Of the vocabulary that all models share."""
        return self.models.shared_words([BASE, *self.names])

    def windows(self, numbers: list[int]) -> Windows:
        """Some passages of the sample as a batch."""
        return Windows.of(self.sample.passages, numbers, self.bos, self.pad, self.models.device)


@dataclass(frozen=True)
class BaseAt:
    """The base at one site of a batch.

    Attributes:
        counts: bool [batch, position], document tokens that are no attention sinks, m in all.
        codes: of those m.
    """

    activation: torch.Tensor
    counts: torch.Tensor
    codes: SparseCodes

    def change(self, dictionary: Dictionary, model: Reading) -> tuple[torch.Tensor, FeatureChanges]:
        """(delta, float32 [batch, position, d_model], 0 where nothing counts; what of it is the features').

        Args:
            dictionary: of this site; model: on this batch.
        """
        delta = torch.where(self.counts[..., None], model.at[dictionary.site].float() - self.activation, 0.0)
        codes = dictionary.encode(dictionary.prepare(model.at[dictionary.reads].float(), dictionary.reads)[self.counts])[0]
        return delta, FeatureChanges.between(self.codes, codes, dictionary.d_sae)


def take_apart(shared: Contributions, numbers: list[int], progress: Callable[[int], None]) -> dict[str, np.ndarray]:
    """The arrays of a batch's file of what passes through layers and features.

    Args:
        numbers: of the passages in the sample.
        progress: called with the number of predictions after each model.

    Raises:
        UserError: a prediction is not finite.
    """
    windows, models = shared.windows(numbers), shared.models
    sites = sites_of(shared.dictionaries)
    base, targets, arrays = read_base(shared, windows, sites)
    at = {dictionary.layer: base_at(shared, dictionary, windows, base) for dictionary in shared.dictionaries}
    for name in shared.names:
        model = Reading(models, name, windows, sites, shared.words)
        whole = targets.measure(model.log_probabilities(), slice(None)).double()
        arrays |= likelihoods(whole, name)
        for dictionary in shared.dictionaries:
            layer = _Layer(shared, dictionary, windows, model, at[dictionary.layer], targets, whole, name)
            arrays |= layer.arrays()
        progress(len(windows.following))
    return arrays


def read_base(shared: Contributions, windows: Windows, sites: list[Site]) -> tuple[Reading, Targets, dict[str, np.ndarray]]:
    """(the base on a batch, what is asked of the predictions, the base's arrays)."""
    base = Reading(shared.models, BASE, windows, sites, shared.words)
    predicted = base.log_probabilities()
    targets = Targets.of(windows, predicted)
    likelihood = targets.measure(predicted, slice(None))[0].double()
    return base, targets, sums.PREDICTIONS.arrays({"likelihood": likelihood.cpu().numpy()}, BASE)


def likelihoods(whole: torch.Tensor, name: str) -> dict[str, np.ndarray]:
    """Of a model, from its log-likelihoods and KL, float64 [2, n].

    Raises:
        UserError: one is NaN or infinite.
    """
    check_finite(whole, name)
    likelihood, kl = whole.cpu().numpy()
    return sums.PREDICTIONS.arrays({"likelihood": likelihood}, name) | sums.DIVERGENCES.arrays({"kl": kl}, name)


def check_finite(values: torch.Tensor, name: str) -> None:
    """Refuse log-likelihoods and divergences of a model that are no numbers.

    Raises:
        UserError: one is NaN or infinite.
    """
    if not bool(torch.isfinite(values).all()):
        raise UserError(
            f"The predictions of the base and of '{name}' give a log-likelihood or a KL that is NaN or infinite; check their "
            "weights, or use a wider dtype."
        )


def counting(shared: Contributions, dictionary: Dictionary, windows: Windows, prepared: torch.Tensor) -> torch.Tensor:
    """bool [batch, position]: document tokens that are no attention sinks at a dictionary's site.

    Args:
        prepared: the base's activation there, as the dictionary reads it.
    """
    return windows.kept & (prepared.norm(dim=2) <= shared.sinks[dictionary.layer])


def base_at(shared: Contributions, dictionary: Dictionary, windows: Windows, base: Reading) -> BaseAt:
    """What the base has at a dictionary's site."""
    activation = base.at[dictionary.site].float()
    counts = counting(shared, dictionary, windows, dictionary.prepare(activation))
    seen = dictionary.prepare(base.at[dictionary.reads].float(), dictionary.reads)
    return BaseAt(activation, counts, dictionary.encode(seen[counts])[0])


class _Layer:
    """One model at one site of a batch, beside the base.

    Args:
        whole: float64 [2, n], the model's own log-likelihood and KL.
        name: of the model; of a twin KL is not taken apart.
    """

    def __init__(
        self,
        shared: Contributions,
        dictionary: Dictionary,
        windows: Windows,
        model: Reading,
        base: BaseAt,
        targets: Targets,
        whole: torch.Tensor,
        name: str,
    ) -> None:
        self._name, self._is_twin = name, variant_of(name) != name
        self._shared, self._dictionary, self._windows, self._base = shared, dictionary, windows, base
        self._numbers = np.array(windows.numbers)
        self._delta, self._changes = base.change(dictionary, model)
        moves = bool(self._delta.any())  # not where a change was planted above
        end = model.measure_without(dictionary.site, self._delta, targets) if moves else whole
        self._through = [self._by_passage(values, windows.predicting) for values in (whole - end) * windows.weights]
        asked = [LIKELIHOOD] if self._is_twin else [LIKELIHOOD, DIVERGENCE]
        gradients = self._gradients(model, targets, asked) if moves else [torch.zeros_like(self._delta)] * len(asked)
        self._paths = [self._along(gradient) for gradient in gradients]
        self._of_code = [self._changes.through(g[base.counts].double(), dictionary) for g in gradients]

    def _gradients(self, model: Reading, targets: Targets, asked: list[int]) -> list[torch.Tensor]:
        """Integrated gradients of what is asked for, each from more points until it misses what there is by little."""
        found: dict[int, torch.Tensor] = {}
        known: dict[float, dict[int, torch.Tensor]] = {}
        missing = asked
        for points in POINTS[POINTS.index(self._shared.points) :]:
            weights = rule(points)
            for alpha in weights:
                if lacking := set(missing) - known.setdefault(alpha, {}).keys():
                    known[alpha] |= model.gradients(self._dictionary.site, self._delta, targets, alpha, lacking)
            found |= {of: sum(weight * known[alpha][of] for alpha, weight in weights.items()) for of in missing}
            missing = [of for of in missing if self._misses(of, found[of])]
            if not missing:
                break
        return [found[of] for of in asked]

    def _misses(self, of: int, gradient: torch.Tensor) -> bool:
        """Whether a gradient makes another change of what it is of than there is, by more than TOLERANCE."""
        true = self._through[of]
        return bool((self._along(gradient) - true).sum().abs() > TOLERANCE * true.abs().sum())

    def _along(self, gradient: torch.Tensor) -> torch.Tensor:
        """float64 [passages], sum of g . delta."""
        return self._by_passage((gradient * self._delta).sum(2)[self._windows.kept], self._windows.kept)

    def arrays(self) -> dict[str, np.ndarray]:
        """The tables of this layer and model."""
        place = (self._dictionary.layer, self._name)
        passage = self._windows.passage[self._base.counts][self._changes.row]
        features = [self._sum(passage, values, len(self._numbers)) for values in self._of_code]
        unknown = torch.full_like(self._through[0], torch.nan)
        of_gain_and_kl = {"": self._through, "path_": [*self._paths, unknown][:2], "features_": [*features, unknown][:2]}
        through = {"passage": self._numbers}
        for prefix, values in of_gain_and_kl.items():
            through |= {f"{prefix}{what}": value.cpu().numpy() for what, value in zip(("gain", "kl"), values, strict=True)}
        arrays = sums.THROUGH.arrays(through, *place)
        if self._is_twin:
            domain = self._windows.domain[passage]
            return arrays | sums.TWIN_FEATURES.arrays(self._feature_sums(domain, "domain"), *place)
        of_passages = self._feature_sums(passage, "passage")
        of_passages["passage"] = self._numbers[of_passages["passage"]]
        return arrays | sums.FEATURES.arrays(of_passages, *place) | sums.ACTS.arrays(self._acts(passage), *place)

    def _by_passage(self, values: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        """float64 [passages]: sums of values [k] at some tokens, bool [batch, position]."""
        return self._sum(self._windows.passage[where], values, len(self._numbers))

    @staticmethod
    def _sum(group: torch.Tensor, values: torch.Tensor, n: int) -> torch.Tensor:
        return torch.zeros(n, dtype=torch.float64, device=values.device).index_add_(0, group, values.double())

    def _feature_sums(self, group: torch.Tensor, called: str) -> dict[str, np.ndarray]:
        """Contributions by group and feature; those that are 0 are left out."""
        d_sae = self._dictionary.d_sae
        keys, place = (group * d_sae + self._changes.feature).unique(return_inverse=True)
        values = {what: self._sum(place, of, len(keys)) for what, of in zip(("gain", "kl"), self._of_code, strict=False)}
        size = self._sum(place, self._changes.value.abs() * self._dictionary.decoder_norm[self._changes.feature], len(keys))
        some = torch.stack([of != 0 for of in values.values()]).any(0)
        values |= {} if self._is_twin else {"size": size}
        keys = keys[some]
        found = {called: keys // d_sae, "feature": keys % d_sae} | {what: of[some] for what, of in values.items()}
        return {name: of.cpu().numpy() for name, of in found.items()}

    def _acts(self, passage: torch.Tensor) -> dict[str, np.ndarray]:
        """The tokens of each passage where single features contribute most, in the order of passage, token and feature."""
        gain = self._of_code[0]
        order = torch.argsort(gain.abs(), descending=True, stable=True)
        order = order[torch.argsort(passage[order], stable=True)]
        starts = torch.searchsorted(passage[order].contiguous(), torch.arange(len(self._numbers), device=gain.device))
        rank = torch.arange(len(order), device=gain.device) - starts[passage[order]]
        chosen = order[(rank < sums.ACTS_A_PASSAGE) & (gain[order] != 0)].sort().values
        lead = 0 if self._shared.bos is None else 1
        place = self._base.counts.nonzero()[:, 1][self._changes.row[chosen]] - lead
        return {
            "passage": self._numbers[passage[chosen].cpu().numpy()],
            "place": place.cpu().numpy(),
            "feature": self._changes.feature[chosen].cpu().numpy(),
            "gain": gain[chosen].cpu().numpy(),
        }
