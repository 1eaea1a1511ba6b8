"""Synthetic documents whose law is known: how often the intervals of a store's metrics hold the truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from extract.bench.page import Row
from store.metrics.intervals import excess_intervals, intervals
from store.metrics.layer_metrics import METRICS, layer_values
from store.metrics.thresholds import MIN_CLUSTERS

COVERAGE_TARGET = (0.93, 0.97)
SIZES = (4, 8, 12, 15, 20, 25, 36, 45, 60, 75)
"""Clusters of each domain of a synthetic store: 300, in domains of very different size."""
SHORTEST, LONGEST = 8, 1024
"""Tokens of a document."""
PER_CLUSTER = {"2": (2,), "6": (6,), "1 to 13": range(1, 14)}
"""Documents of a template; the last as in the demo's maths."""
ALIKE = 0.4
"""Share of the variance within a domain that lies between clusters: the correlation of two documents of one."""


def interval_coverage(quick: bool) -> list[Row]:
    """How often intervals of synthetic stores hold the truth: of 300 clusters, and of one domain of the fewest clusters."""
    n_stores = 200 if quick else 1000
    slack = 0.03 if quick else 0.0  # two standard errors of 200 draws
    rows = [_row(name, share, slack) for name, share in coverage(SIZES, n_stores, spread=1.0, seed=3).items()]
    for title, per_cluster in PER_CLUSTER.items():
        covered = coverage(SIZES, n_stores, spread=1.0, seed=3, per_cluster=per_cluster)
        rows += _extremes(f"documents of {title} a template", covered, slack)
        few = [coverage((MIN_CLUSTERS,), n_stores, spread=1.0, seed=seed, per_cluster=per_cluster) for seed in (3, 4, 5)]
        covered = {name: sum(found[name] for found in few) / len(few) for name in few[0]}
        rows += _extremes(f"a domain of {MIN_CLUSTERS} templates of {title}", covered, slack)
    hard = coverage(SIZES, n_stores, spread=2.0, seed=4)
    worst = min(hard, key=hard.get)
    return [*rows, Row(f"documents twice as dispersed: the least covered ({worst})", hard[worst], "", None)]


def _extremes(title: str, covered: Mapping[str, float], slack: float) -> list[Row]:
    """The least and the most covered of every metric and excess."""
    least, most = min(covered, key=covered.get), max(covered, key=covered.get)
    return [
        _row(f"{title}: the least covered ({least})", covered[least], slack),
        _row(f"{title}: the most covered ({most})", covered[most], slack),
    ]


def _row(name: str, share: float, slack: float) -> Row:
    low, high = COVERAGE_TARGET
    return Row(name, share, f"{low} to {high}", low - slack <= share <= high + slack)


@dataclass(frozen=True)
class Drawn:
    """The documents of one synthetic store.

    Attributes:
        variant, control: an array [documents] for each of DOCUMENT_SUMS; and of each model its ``totals`` [documents, width],
            sums of h, as base_total and variant_total.
        domain, cluster: int64 [documents].
    """

    variant: dict[str, np.ndarray]
    control: dict[str, np.ndarray]
    domain: np.ndarray
    cluster: np.ndarray


@dataclass(frozen=True)
class SyntheticLaw:
    """The law of synthetic documents' sums, of a variant and of its control.

    Lengths are log-normal. What a token adds on average differs between documents: log-normally, or logistic-normally where it
    is a share; it depends on the domain and a little on the length (long documents are another kind of text). Residuals are
    drawn as a document's mean and scatter, so that sums about the pilot's mean and about the group's are those of real vectors.
    Within a domain, a rate's logarithm has a standard deviation of 0.3 times ``spread``: the largest of those measured in a
    store of Gemma 3 270M (||delta||^2: 0.3; 1 - cosine: 0.2; l1_divergence, l0, fvu, overlap: 0.02 to 0.12).

    Documents of one cluster are alike: ALIKE of the variance within a domain lies between clusters.

    Attributes:
        sizes: clusters of each domain.
        per_cluster: how many documents a cluster may have, each as likely.
        log: [domains, 20] the domains' part of each rate's logarithm or logit.
        mean: [domains, width] their mean residuals.
        pilot: [width] the pilot's mean.
    """

    sizes: np.ndarray
    per_cluster: Sequence[int]
    spread: float
    log: np.ndarray
    mean: np.ndarray
    pilot: np.ndarray

    @classmethod
    def of(
        cls, sizes: Sequence[int], spread: float, seed: int, per_cluster: Sequence[int] = (1,), width: int = 12
    ) -> "SyntheticLaw":
        """A law with domains that differ."""
        rng = np.random.default_rng(seed)
        log = 0.3 * rng.normal(size=(len(sizes), 20))
        mean = 0.6 * rng.normal(size=(len(sizes), width))
        return cls(np.asarray(sizes), per_cluster, spread, log, mean, 0.3 * rng.normal(size=width))

    def draw(self, rng: np.random.Generator, times: int = 1) -> Drawn:
        """One store; ``times`` multiplies the clusters of every domain."""
        of_cluster = np.repeat(np.arange(len(self.sizes)), self.sizes * times)
        cluster = np.repeat(np.arange(len(of_cluster)), rng.choice(self.per_cluster, size=len(of_cluster)))
        domain = of_cluster[cluster]

        def normal(width: int | None = None) -> np.ndarray:
            """Standard normal numbers [documents] or [documents, width], alike within a cluster."""
            shape = () if width is None else (width,)
            between, within = rng.normal(size=(len(of_cluster), *shape)), rng.normal(size=(len(cluster), *shape))
            return ALIKE**0.5 * between[cluster] + (1 - ALIKE) ** 0.5 * within

        n = np.clip(np.rint(np.exp(np.log(150) + 0.8 * normal())), SHORTEST, LONGEST).astype(np.int64)
        length = np.log(n) - np.log(150)

        def log_rate(number: int, sd: float) -> np.ndarray:
            return self.log[domain, number] + self.spread * sd * normal() + 0.1 * length

        def share(centre: float, logit: np.ndarray) -> np.ndarray:
            return 1 / (1 + np.exp(-centre - logit))

        document_mean = self.mean[domain] + 0.7 * normal(len(self.pilot))
        scatter = np.exp(log_rate(0, 0.1))
        base = self._residuals(rng, "base", n, document_mean, scatter, log_rate(1, 0.3) - 2.0)
        l0_rate = 20 * np.exp(log_rate(2, 0.3))
        base["l0_base"] = rng.poisson(n * l0_rate)
        common = [log_rate(number, 0.25) for number in range(3, 12)]

        def model(offset: float) -> dict[str, np.ndarray]:
            own = [shared + self.spread * 0.15 * normal() + offset for shared in common]
            sums = {**base, **self._residuals(rng, "variant", n, document_mean + 0.3, 1.05 * scatter, own[0] - 1.7)}
            sums["cosine"] = n * (1 - 0.05 * np.exp(own[1]))
            sums["centred_cosine"] = n * (1 - 0.1 * np.exp(own[1]))
            sums["delta_norm2"] = n * np.exp(common[2])
            sums["delta_error2"] = sums["delta_norm2"] * share(1.0, own[3])
            sums["overlap"] = n * share(0.0, -own[4])
            sums["maximum"] = 20 * n * np.exp(own[5])
            sums["minimum"] = sums["maximum"] * share(0.5, -own[4])
            sums["n_latent_cosine"] = rng.binomial(n, share(2.5, own[6]))
            sums["latent_cosine"] = sums["n_latent_cosine"] * share(1.0, -own[4])
            sums["l1_divergence"] = 3 * n * np.exp(own[7])
            sums["l0_variant"] = rng.poisson(n * l0_rate * (1 + 0.3 * np.exp(own[8])))
            return sums

        return Drawn(model(0.3), model(0.0), domain, cluster)

    def _residuals(self, rng, model: str, n, document_mean, scatter, log_error) -> dict[str, np.ndarray]:
        """The sums of n tokens h about ``document_mean`` with ``scatter`` in every direction, each [documents]."""
        width = len(self.pilot)
        mean = document_mean + (scatter / np.sqrt(n))[:, None] * rng.normal(size=document_mean.shape)
        within = scatter**2 * rng.chisquare((n - 1) * width)
        return {
            "n_tokens": n,
            f"{model}_total": n[:, None] * mean,
            f"{model}_norm2": n * (mean**2).sum(axis=1) + within,
            f"{model}_centred2": n * ((mean - self.pilot) ** 2).sum(axis=1) + within,
            f"{model}_error2": n * width * scatter**2 * np.exp(log_error),
        }

    def summed(self, sums: dict[str, np.ndarray]) -> tuple[dict[str, float], float, float]:
        """(sums, ||sum h_a||^2, ||sum h_b||^2) of a group, as ``layer_values`` takes them; sums: [documents] each."""
        added = {name: values.sum() for name, values in sums.items() if not name.endswith("_total")}
        return added, *(float((sums[f"{model}_total"].sum(axis=0) ** 2).sum()) for model in ("base", "variant"))

    def values(self, sums: dict[str, np.ndarray]) -> dict[str, float]:
        """``layer_values`` of a group of documents; sums: [documents] each."""
        return layer_values(*self.summed(sums), self.mean_norm)

    @property
    def mean_norm(self) -> float:
        """||mu||."""
        return float(np.linalg.norm(self.pilot))


def coverage(
    sizes: Sequence[int], n_stores: int, spread: float, seed: int, per_cluster: Sequence[int] = (1,)
) -> dict[str, float]:
    """The share of stores whose interval holds the truth, of every metric ('overlap') and excess ('overlap excess').

    Args:
        sizes: clusters of each domain.
        per_cluster: how many documents a cluster may have.

    The truth is what a store of 1,000 times as many clusters shows.
    """
    law = SyntheticLaw.of(sizes, spread, seed, per_cluster)
    truth = law_truth(law, np.random.default_rng([seed, 1]))
    rng = np.random.default_rng([seed, 2])
    hits = dict.fromkeys(truth, 0)
    for _ in range(n_stores):
        for name, (low, high) in law_intervals(law, law.draw(rng)).items():
            hits[name] += int(low <= truth[name] <= high)
    return {name: float(count / n_stores) for name, count in hits.items()}


def law_intervals(law: SyntheticLaw, drawn: Drawn) -> dict[str, tuple[float, float]]:
    """Every interval of one store, by the names of :func:`coverage`."""
    _, base_norm2, variant_norm2 = law.summed(drawn.variant)
    _, _, control_norm2 = law.summed(drawn.control)
    variant, control = (
        {name: values for name, values in sums.items() if values.ndim == 1} for sums in (drawn.variant, drawn.control)
    )
    where = (drawn.domain, drawn.cluster)
    norms = {"base_total_norm2": base_norm2, "variant_total_norm2": variant_norm2}
    plain = intervals(variant, *where, **norms, mean_norm=law.mean_norm)
    paired = excess_intervals(variant, control, *where, observed_total_norm2=variant_norm2, control_total_norm2=control_norm2)
    return {**plain, **{f"{name} excess": (low, high) for name, (_, low, high) in paired.items()}}


def law_truth(law: SyntheticLaw, rng: np.random.Generator) -> dict[str, float]:
    """What a store of 1,000 times as many clusters shows, by the names of :func:`coverage`."""
    draws = [law.draw(rng, times=100) for _ in range(10)]
    of_variant, of_control = (
        law.values({name: sum(sums[name].sum(axis=0, keepdims=True) for sums in of_model) for name in of_model[0]})
        for of_model in ([drawn.variant for drawn in draws], [drawn.control for drawn in draws])
    )
    excess = {
        f"{name} excess": METRICS[name].excess(value, of_control[name])
        for name, value in of_variant.items()
        if METRICS[name].has_excess
    }
    return of_variant | excess
