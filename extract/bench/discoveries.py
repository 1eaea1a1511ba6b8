"""Synthetic stores whose truth is known: how many of the discoveries are false, and how many true changes are found."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from extract.bench.page import Row
from store.metrics.evidence import PooledChange, feature_evidence
from store.metrics.thresholds import POWER, Q
from store.names import SUPPORTED

SIZES = (4, 8, 12, 15, 20, 25, 36, 45, 60, 75)
"""Documents of each domain of a synthetic store: 300, in domains of very different size."""

SMALL_SIZES = (4, 4, 4, 4, 4, 4, 4, 7, 14, 14)
"""63 documents, most domains too small for a stratum of their own: the demo on a slice of its corpus."""

FDR_TARGET = 0.075
CONTEXT_TOKENS, LONGEST = 8, 1024
"""Shortest document, and the longest: RunConfig.document_tokens."""


def false_discoveries(quick: bool) -> list[Row]:
    """Verdicts of synthetic stores in which nine features in ten are exchangeable with their control, and one in ten is not."""
    n_stores = 60 if quick else 400
    rows = []
    for title, sizes in (("300 documents", SIZES), ("63 documents", SMALL_SIZES)):
        mixed = [judge(store) for store in synthetic_stores(sizes, n_stores, share_shifted=0.1, seed=1)]
        null = [judge(store) for store in synthetic_stores(sizes, n_stores, share_shifted=0.0, seed=2)]
        rows += [
            fdr_row(f"{title}: false discoveries by q alone", [j.false_share(j.significant) for j in mixed]),
            fdr_row(f"{title}: false discoveries among verdicts", [j.false_share(j.claimed) for j in mixed]),
            fdr_row(f"{title}: stores without any change that claim one", [float(j.significant.any()) for j in null]),
            *power_rows(title, mixed),
        ]
    return rows


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
        """The false discovery proportion of bool [d_sae]; 0 where nothing was found."""
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
        domain, n = document_lengths(rng, sizes)
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
        yield SyntheticStore(_summed(_Tokens(document, feature, a, b, c), domain, n, d_sae), shifted)


@dataclass(frozen=True)
class _Tokens:
    """Where features fire: document and feature int64 [tokens]; a, b, c float64 [tokens], in base, variant and control."""

    document: np.ndarray
    feature: np.ndarray
    a: np.ndarray
    b: np.ndarray
    c: np.ndarray


def _summed(tokens: _Tokens, domain: np.ndarray, n: np.ndarray, d_sae: int) -> PooledChange:
    """A store's sums from its tokens; domain and n (tokens): int64 [documents]."""
    document, feature, a, b, c = tokens.document, tokens.feature, tokens.a, tokens.b, tokens.c
    n_tokens = int(n.sum())

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
    return PooledChange(
        sums,
        shift=per_feature(b - a) / n_tokens,
        shift_isotropic=per_feature(c - a) / n_tokens,
        near_threshold=np.full(d_sae, np.nan),
        total=member @ difference,
        square=member @ difference**2,
        n_documents=np.bincount(domain),
        n_tokens=n_tokens,
    )


def judge(store: SyntheticStore) -> Judged:
    """The verdicts that a merge would give."""
    columns = feature_evidence(
        store.change, neighbours=lambda features: (np.empty(0, int), np.empty(0, int), np.empty(0)), gate="fits"
    )
    q, least = columns["q"], columns["minimum_detectable"]
    claimed = np.isin(columns["verdict"], SUPPORTED)
    return Judged(store.shifted, ~np.isnan(q), q < Q, claimed, store.change.shift, least)


def fdr_row(name: str, shares: Sequence[float]) -> Row:
    """The mean share's upper 95 % bound against the target."""
    mean, se = np.mean(shares), np.std(shares, ddof=1) / np.sqrt(len(shares))
    bound = float(mean + stats.norm.ppf(0.95) * se)
    return Row(f"{name} (mean {mean:.4f}), upper 95 % bound", bound, f"at most {FDR_TARGET}", bound <= FDR_TARGET)


def power_rows(title: str, judged: Sequence[Judged]) -> list[Row]:
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


def document_lengths(rng: np.random.Generator, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(domain, tokens) of each document, int64 [documents]: log-normal, from CONTEXT_TOKENS to LONGEST tokens."""
    domain = np.repeat(np.arange(len(sizes)), sizes)
    n = np.exp(np.log(150) + 0.8 * rng.normal(size=len(domain)))
    return domain, np.clip(np.rint(n), CONTEXT_TOKENS, LONGEST).astype(np.int64)
