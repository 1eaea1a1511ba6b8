"""Known truth: does the statistics say what is there, and nothing else? ``python -m extract bench-truth``.

Each section makes data whose answer is known, sends it through the functions that a real merge uses, and returns rows of
(name, value, target, met). A section is a function of ``quick``; another one is a line in :data:`SECTIONS`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from extract import ROOT
from extract.bench.page import Row
from extract.bench.planted_truth import planted_on_the_base
from store.metrics.catalogue import METRICS, layer_values
from store.metrics.evidence import PooledChange, feature_evidence
from store.metrics.intervals import excess_intervals, intervals
from store.metrics.thresholds import POWER, Q
from store.names import SUPPORTED

PAGE = ROOT / "docs" / "bench-truth.md"

SIZES = (4, 8, 12, 15, 20, 25, 36, 45, 60, 75)
"""Documents of each domain of a synthetic store: 300, in domains of very different size."""

SMALL_SIZES = (4, 4, 4, 4, 4, 4, 4, 7, 14, 14)
"""63 documents, most domains too small for a stratum of their own: the demo on a slice of its corpus."""

FDR_TARGET = 0.075
COVERAGE_TARGET = (0.93, 0.97)
CONTEXT_TOKENS, LONGEST = 8, 1024
"""Shortest document, and the longest: RunConfig.document_tokens."""


def false_discoveries(quick: bool) -> list[Row]:
    """Verdicts of synthetic stores in which nine features in ten are exchangeable with their control, and one in ten is not."""
    n_stores = 60 if quick else 400
    rows = []
    for title, sizes in (("300 documents", SIZES), ("63 documents", SMALL_SIZES)):
        mixed = [_judged(store) for store in synthetic_stores(sizes, n_stores, share_shifted=0.1, seed=1)]
        null = [_judged(store) for store in synthetic_stores(sizes, n_stores, share_shifted=0.0, seed=2)]
        rows += [
            _fdr_row(f"{title}: false discoveries by q alone", [j.false_share(j.significant) for j in mixed]),
            _fdr_row(f"{title}: false discoveries among verdicts", [j.false_share(j.claimed) for j in mixed]),
            _fdr_row(f"{title}: stores without any change that claim one", [float(j.significant.any()) for j in null]),
            *_power_rows(title, mixed),
        ]
    return rows


def interval_coverage(quick: bool) -> list[Row]:
    """How often intervals of synthetic stores of 300 documents hold the truth."""
    n_stores = 200 if quick else 1000
    rows = []
    low, high = COVERAGE_TARGET
    slack = 0.03 if quick else 0.0  # two standard errors of 200 draws
    for name, covered in coverage(SIZES, n_stores, spread=1.0, seed=3).items():
        rows.append(Row(name, covered, f"{low} to {high}", low - slack <= covered <= high + slack))
    hard = coverage(SIZES, n_stores, spread=2.0, seed=4)
    worst = min(hard, key=hard.get)
    rows.append(Row(f"documents twice as dispersed: the least covered ({worst})", hard[worst], "", None))
    return rows


# --- false discoveries ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SyntheticStore:
    """What a merge knows of one variant and layer, and the truth.

    Attributes:
        change: what ``feature_evidence`` takes.
        shifted: bool [d_sae], whether b has another law than c.
    """

    change: PooledChange
    shifted: np.ndarray


@dataclass(frozen=True)
class Judged:
    """A synthetic store's verdicts beside its truth, each [d_sae]."""

    shifted: np.ndarray
    testable: np.ndarray
    significant: np.ndarray
    claimed: np.ndarray
    shift: np.ndarray
    least: np.ndarray

    def false_share(self, found: np.ndarray) -> float:
        """The false discovery proportion; 0 where nothing was found."""
        return float((found & ~self.shifted).sum() / max(1, found.sum()))


def synthetic_stores(
    sizes: Sequence[int], n_stores: int, share_shifted: float, seed: int, d_sae: int = 500
) -> Iterator[SyntheticStore]:
    """Stores of one law: the same features every time, other documents and other noise.

    A feature's candidates are tokens where its pre-activation u comes near its threshold: Poisson in each document, at a rate
    that is the feature's own times the document's (most documents have next to none; a third of the features belong to one
    domain). a, b and c are u, u + e_b and u + e_c where that is beyond the threshold, else 0. The noise e is heavy-tailed
    (t with 3 degrees of freedom), part of it shared by a document's tokens and by ten features at a time, and e_b and e_c
    have the same law: b and c are exchangeable. In a shifted feature b's u is scaled by 0 to 0.8 or by 1.2 to 2.5.
    """
    law = np.random.default_rng(seed)
    sizes = np.asarray(sizes)
    rate = 10 ** law.uniform(-3.5, -1.5, size=d_sae)
    scale = np.exp(0.5 * law.normal(size=d_sae))
    noise = law.uniform(0.1, 0.4, size=d_sae)
    home = np.where(law.random(d_sae) < 1 / 3, law.integers(0, len(sizes), size=d_sae), -1)
    loading = law.choice([-1.0, 1.0], size=d_sae)
    shifted = np.zeros(d_sae, dtype=bool)
    shifted[law.permutation(d_sae)[: round(share_shifted * d_sae)]] = True
    down, up = law.uniform(0.0, 0.8, size=d_sae), law.uniform(1.2, 2.5, size=d_sae)
    factor = np.where(shifted, np.where(law.random(d_sae) < 0.5, down, up), 1.0)
    group = np.arange(d_sae) // 10
    for number in range(n_stores):
        rng = np.random.default_rng([seed, number])
        domain, n = _lengths(rng, sizes)
        of_document = rng.gamma(0.3, 1 / 0.3, size=(len(n), d_sae))
        at_home = np.where(home < 0, 1.0, np.where(domain[:, None] == home, len(sizes), 0.02))
        document, feature = np.nonzero(counts := rng.poisson(n[:, None] * rate * of_document * at_home))
        repeat = counts[document, feature]
        cell, document, feature = (np.repeat(x, repeat) for x in (np.arange(len(document)), document, feature))
        u = np.exp(0.8 * rng.normal(size=len(cell))) - 0.3
        codes = [u]
        for gain in (factor[feature], 1.0):
            of_group = rng.standard_t(3, size=(len(n), group[-1] + 1))[document, group[feature]] * loading[feature]
            of_cell = rng.standard_t(3, size=len(repeat))[cell]
            of_token = rng.standard_t(3, size=len(cell))
            codes.append(gain * u + noise[feature] * (0.3 * of_group + 0.5 * of_cell + of_token))
        a, b, c = (scale[feature] * np.where(code > 0.5, code, 0.0) for code in codes)
        yield _summed(document, feature, domain, n, a, b, c, shifted)


def _summed(document, feature, domain, n, a, b, c, shifted) -> SyntheticStore:
    """A store's sums from its tokens (document, feature, a, b, c each [tokens])."""
    d_sae, n_tokens = len(shifted), int(n.sum())

    def per_feature(values: np.ndarray) -> np.ndarray:
        return np.bincount(feature, weights=values, minlength=d_sae)

    def per_document(values: np.ndarray) -> np.ndarray:
        return np.bincount(document * d_sae + feature, weights=values, minlength=len(n) * d_sae).reshape(len(n), d_sae)

    difference = per_document(b - c)
    member = (np.arange(domain.max() + 1)[:, None] == domain).astype(np.float64)
    sums = {
        "n11": per_feature((a > 0) & (b > 0)).astype(np.int64),
        "n10": per_feature((a > 0) & (b == 0)).astype(np.int64),
        "n01": per_feature((a == 0) & (b > 0)).astype(np.int64),
        "n_documents": (per_document((a > 0) | (b > 0)) > 0).sum(axis=0),
    }
    change = PooledChange(
        sums,
        shift=per_feature(b - a) / n_tokens,
        shift_isotropic=per_feature(c - a) / n_tokens,
        near_threshold=np.full(d_sae, np.nan),
        total=member @ difference,
        square=member @ difference**2,
        n_documents=np.bincount(domain),
        n_tokens=n_tokens,
    )
    return SyntheticStore(change, shifted)


def _judged(store: SyntheticStore) -> Judged:
    columns = feature_evidence(
        store.change, neighbours=lambda features: (np.empty(0, int), np.empty(0, int), np.empty(0)), gate="fits"
    )
    q, least = columns["q"], columns["minimum_detectable"]
    claimed = np.isin(columns["verdict"], SUPPORTED)
    return Judged(store.shifted, ~np.isnan(q), q < Q, claimed, store.change.shift, least)


def _fdr_row(name: str, shares: Sequence[float]) -> Row:
    """The mean share's upper 95 % bound against the target."""
    mean, se = np.mean(shares), np.std(shares, ddof=1) / np.sqrt(len(shares))
    bound = float(mean + stats.norm.ppf(0.95) * se)
    return Row(f"{name} (mean {mean:.4f}), upper 95 % bound", bound, f"at most {FDR_TARGET}", bound <= FDR_TARGET)


def _power_rows(title: str, judged: Sequence[Judged]) -> list[Row]:
    """How many of the true changes were claimed: of all testable ones, and of those that should have been found."""
    expected = np.abs(np.mean([one.shift for one in judged], axis=0))
    real = np.array([one.shifted & one.testable for one in judged])
    claimed = np.array([one.claimed for one in judged])
    least = np.array([one.least for one in judged])
    at_least = real & (expected >= np.where(real, least, np.inf))
    found = float(claimed[at_least].mean())
    return [
        Row(f"{title}: found, of the true changes that are testable", float(claimed[real].mean()), "", None),
        Row(
            f"{title}: found, of those beyond their minimum_detectable ({at_least.sum():,})",
            found, f"at least {POWER}", found >= POWER,
        ),
    ]  # fmt: skip


def _lengths(rng: np.random.Generator, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(domain, tokens) of each document, int64 [documents]: log-normal, from CONTEXT_TOKENS to LONGEST tokens."""
    domain = np.repeat(np.arange(len(sizes)), sizes)
    n = np.exp(np.log(150) + 0.8 * rng.normal(size=len(domain)))
    return domain, np.clip(np.rint(n), CONTEXT_TOKENS, LONGEST).astype(np.int64)


# --- intervals -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SyntheticLaw:
    """The law of synthetic documents' sums, of a variant and of its control.

    Lengths are log-normal. What a token adds on average differs between documents: log-normally, or logistic-normally where it
    is a share; it depends on the domain and a little on the length (long documents are another kind of text). Residuals are
    drawn as a document's mean and scatter, so that sums about the pilot's mean and about the group's are those of real vectors.
    Within a domain, a rate's logarithm has a standard deviation of 0.3 times ``spread``: the largest of those measured in a
    store of Gemma 3 270M (||delta||^2: 0.3; 1 - cosine: 0.2; l1_divergence, l0, fvu, overlap: 0.02 to 0.12).

    Attributes:
        sizes: documents of each domain.
        log: [domains, 20] the domains' part of each rate's logarithm or logit.
        mean: [domains, width] their mean residuals.
        pilot: [width] the pilot's mean.
    """

    sizes: np.ndarray
    spread: float
    log: np.ndarray
    mean: np.ndarray
    pilot: np.ndarray

    @classmethod
    def of(cls, sizes: Sequence[int], spread: float, seed: int, width: int = 12) -> "SyntheticLaw":
        """A law with domains that differ."""
        rng = np.random.default_rng(seed)
        log = 0.3 * rng.normal(size=(len(sizes), 20))
        return cls(np.asarray(sizes), spread, log, 0.6 * rng.normal(size=(len(sizes), width)), 0.3 * rng.normal(size=width))

    def draw(self, rng: np.random.Generator, times: int = 1) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
        """(variant's sums, control's sums, domain [documents]) of one store; ``totals`` [documents, width] are sums of h.

        ``times`` multiplies the documents of every domain. Beside DOCUMENT_SUMS each model's totals: base_total, variant_total.
        """
        domain, n = _lengths(rng, self.sizes * times)
        length = np.log(n) - np.log(150)

        def log_rate(number: int, sd: float) -> np.ndarray:
            return self.log[domain, number] + self.spread * sd * rng.normal(size=len(n)) + 0.1 * length

        def share(centre: float, logit: np.ndarray) -> np.ndarray:
            return 1 / (1 + np.exp(-centre - logit))

        document_mean = self.mean[domain] + 0.7 * rng.normal(size=(len(n), len(self.pilot)))
        scatter = np.exp(log_rate(0, 0.1))
        base = self._residuals(rng, "base", n, document_mean, scatter, log_rate(1, 0.3) - 2.0)
        l0_rate = 20 * np.exp(log_rate(2, 0.3))
        base["l0_base"] = rng.poisson(n * l0_rate)
        common = [log_rate(number, 0.25) for number in range(3, 12)]

        def model(offset: float) -> dict[str, np.ndarray]:
            own = [shared + self.spread * 0.15 * rng.normal(size=len(n)) + offset for shared in common]
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
            sums["code_delta_norm2"] = sums["l1_divergence"]
            sums["l0_variant"] = rng.poisson(n * l0_rate * (1 + 0.3 * np.exp(own[8])))
            return sums

        return model(0.3), model(0.0), domain

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
        """(sums, ||sum h_a||^2, ||sum h_b||^2) of a group, as ``layer_values`` takes them."""
        added = {name: values.sum() for name, values in sums.items() if not name.endswith("_total")}
        return added, *(float((sums[f"{model}_total"].sum(axis=0) ** 2).sum()) for model in ("base", "variant"))

    def values(self, sums: dict[str, np.ndarray]) -> dict[str, float]:
        """``layer_values`` of a group of documents."""
        return layer_values(*self.summed(sums), self.mean_norm)

    @property
    def mean_norm(self) -> float:
        """||mu||."""
        return float(np.linalg.norm(self.pilot))


def coverage(sizes: Sequence[int], n_stores: int, spread: float, seed: int) -> dict[str, float]:
    """The share of stores whose interval holds the truth, of every metric ('overlap') and excess ('overlap excess').

    The truth is what a store of 1,000 times as many documents shows.
    """
    law = SyntheticLaw.of(sizes, spread, seed)
    truth = _truth(law, np.random.default_rng([seed, 1]))
    rng = np.random.default_rng([seed, 2])
    hits = dict.fromkeys(truth, 0)
    for _ in range(n_stores):
        variant, control, domain = law.draw(rng)
        for name, (low, high) in law_intervals(law, variant, control, domain).items():
            hits[name] += int(low <= truth[name] <= high)
    return {name: float(count / n_stores) for name, count in hits.items()}


def law_intervals(law: SyntheticLaw, variant, control, domain) -> dict[str, tuple[float, float]]:
    """Every interval of one store, by the names of :func:`coverage`."""
    _, base_norm2, variant_norm2 = law.summed(variant)
    _, _, control_norm2 = law.summed(control)
    norms = {"base_total_norm2": base_norm2, "variant_total_norm2": variant_norm2}
    plain = intervals(variant, domain, **norms, mean_norm=law.mean_norm)
    paired = excess_intervals(
        variant, control, domain, observed_total_norm2=variant_norm2, control_total_norm2=control_norm2
    )
    return {**plain, **{f"{name} excess": (low, high) for name, (_, low, high) in paired.items()}}


def _truth(law: SyntheticLaw, rng: np.random.Generator) -> dict[str, float]:
    parts: list[list[dict[str, np.ndarray]]] = [[], []]  # as if each draw were one document
    for _ in range(10):
        for side, sums in zip(parts, law.draw(rng, times=100), strict=False):
            side.append({name: values.sum(axis=0, keepdims=True) for name, values in sums.items()})
    of_variant, of_control = (
        law.values({name: np.concatenate([part[name] for part in side]) for name in side[0]}) for side in parts
    )
    excess = {
        f"{name} excess": METRICS[name].excess(value, of_control[name])
        for name, value in of_variant.items()
        if METRICS[name].has_excess
    }
    return of_variant | excess


SECTIONS: dict[str, Callable[[bool], list[Row]]] = {
    "Synthetic stores: false discoveries and power": false_discoveries,
    "Synthetic stores: intervals": interval_coverage,
    "The demo's base with planted variants": planted_on_the_base,
}


def run(quick: bool = False) -> dict[str, list[Row]]:
    """Every section's rows, by its title; ``quick`` draws fewer stores."""
    return {title: section(quick) for title, section in SECTIONS.items()}
