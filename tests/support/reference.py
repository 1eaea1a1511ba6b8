"""docs/metrics.md a second time, naively: dense float64 numpy over every token and feature at once.

Long because it is a whole second implementation, dense, in one place to be read beside the definitions.

The store's sums are made batch by batch from sparse codes; here everything is written down from the definitions, on arrays
[tokens, features] that only a small run can afford. What is shared with the extractor is the input alone: the float32
residuals that its batches gave and that its controls put in their place (recorded on the way, so that both sides round
alike; tests compare the former with transformers' own hidden states, the latter with their definitions), and
``sae.encode`` of sae-lens. Evidence, intervals and strata are worked out in tests/support/evidence.py, from
docs/metrics.md too.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sae_lens import SAE
from transformers import PreTrainedTokenizerFast

from extract.hashed_random import mix, text_key, uniform
from tests.support.evidence import Pair, RecipeRun, decided, half_width

Side = str | tuple[str, str]
"""A model's name; or (variant, control or twin), the rerun's being ("base", "rerun")."""
Batch = tuple[np.ndarray, dict[str, dict[int, np.ndarray]]]
"""Rows of a shard, and model or twin -> layer -> float32 residuals of those rows."""


@dataclass(frozen=True)
class Controlled:
    """What a control put in a variant's place: float32 [n, d_model] at tokens of a shard's documents."""

    control: str
    layer: int
    variant: str
    document: np.ndarray
    position: np.ndarray
    residuals: np.ndarray


@dataclass
class Recording:
    """What the models gave during a run: the pilot's batches, what sized the twins, and of each shard what was compared."""

    pilot: list[Batch] = field(default_factory=list)
    sizes: list[Batch] = field(default_factory=list)
    shards: dict[int, list[Batch]] = field(default_factory=dict)
    again: dict[int, list[Batch]] = field(default_factory=dict)
    controls: dict[int, list[Controlled]] = field(default_factory=dict)


@contextmanager
def recording() -> Iterator[Recording]:
    """Record every residual that a run reads inside the context."""
    import extract.measure.comparison
    import extract.measure.shard
    import extract.pilot.twin_sizes
    import extract.run.pipeline
    from extract.models.residuals import ResidualReader

    record = Recording()
    with pytest.MonkeyPatch.context() as patch:
        real_shard, real_control = extract.measure.shard.read_shard, extract.measure.comparison.controlled
        real_pilot, real_sample = extract.run.pipeline.PHASES["pilot"], extract.pilot.twin_sizes.sample
        kept_now = [record.pilot]

        def read_shard(context, shard, *rest):
            for kept in (record.shards, record.again, record.controls):
                kept[shard.index] = []
            kept_now[:] = [record.shards[shard.index]]
            return real_shard(context, shard, *rest)

        def latest(kept: dict[int, list]) -> list:
            return kept[max(kept)]

        class Listening(ResidualReader):
            def read(self, names, batch, sites):
                rows, residuals = super().read(names, batch, sites)
                copied = {m: {site.layer: h.numpy().copy() for site, h in at.items()} for m, at in residuals.items()}
                kept_now[0].append((rows.numpy().copy(), copied))
                return rows, residuals

            def read_again(self, batch, wanted, sites):
                found = super().read_again(batch, wanted, sites)
                if found is not None:
                    copied = {site.layer: h.numpy().copy() for site, h in found[1].items()}
                    latest(record.again).append((found[0].numpy().copy(), {"base": copied}))
                return found

        def pilot(run):
            run.reader = Listening(run.reader.models)
            real_pilot(run)

        def sample(documents):
            kept_now[:] = [record.sizes]
            return real_sample(documents)

        def controlled(control, base, delta, place, change):
            found = real_control(control, base, delta, place, change)
            at = (place.token_index.document.numpy().copy(), place.token_index.position.numpy().copy())
            latest(record.controls).append(Controlled(control, place.layer, place.variant, *at, found.numpy().copy()))
            return found

        patch.setattr(extract.measure.shard, "read_shard", read_shard)
        patch.setitem(extract.run.pipeline.PHASES, "pilot", pilot)
        patch.setattr(extract.measure.comparison, "controlled", controlled)
        patch.setattr(extract.pilot.twin_sizes, "sample", sample)
        yield record


@dataclass(frozen=True)
class Document:
    """One tokenised document, with the segment of each token."""

    source: str
    domain: str
    cluster: str
    token_ids: list[int]
    segments: list[str]


def rendered(record: dict) -> tuple[str, list[str]]:
    """Text of a record under the small world's chat template, and the segment of each of its characters."""
    if "text" in record:
        return record["text"], ["text"] * len(record["text"])
    messages = record.get("messages") or [
        {"role": "user", "content": record["prompt"]},
        {"role": "assistant", "content": record["response"]},
    ]
    text, marks = "", []
    for message in messages:
        answer = message["role"] == "assistant"
        for piece, segment in (
            (f"<turn>{'model' if answer else message['role']}\n", "template"),
            (message["content"].strip(), "response" if answer else "prompt"),
            ("</turn>\n", "template"),
        ):
            text += piece
            marks += [segment] * len(piece)
    return text, marks


def read_documents(config: dict, tokenizer: PreTrainedTokenizerFast) -> list[Document]:
    """Every document of the corpus, cluster by cluster, in the order of hashes; repeated and empty texts left out."""
    found, texts = [], set()
    records = []
    for entry in config["corpus"]:
        lines = Path(entry["path"]).read_text(encoding="utf-8").splitlines()
        records += [(entry["domain"], cluster_of(entry, json.loads(line)), json.loads(line)) for line in lines]
    records.sort(key=lambda row: hashed(row[2]["source"]))  # of repeated texts the first in this order stays
    for domain, cluster, record in records:
        text, marks = rendered(record)
        if text.strip() and text not in texts:
            texts.add(text)
            encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
            segments = [marks[end - 1] for _, end in encoded["offset_mapping"]]
            cut = config["document_tokens"]
            found.append(Document(record["source"], domain, cluster, encoded["input_ids"][:cut], segments[:cut]))
    return sorted(found, key=lambda document: (hashed(document.cluster), document.domain, hashed(document.source)))


def cluster_of(entry: dict, record: dict) -> str:
    """What a record says; else, where its source of documents says so, its id up to the last '/'; else its id."""
    if record.get("cluster"):
        return record["cluster"]
    source = record["source"]
    return source[: source.rindex("/")] if entry.get("cluster_by_source") and "/" in source else source


def hashed(name: str) -> str:
    """What documents and clusters are ordered by."""
    return hashlib.sha256(name.encode()).hexdigest()


def shard_sizes(lengths: list[int], limit: int) -> list[int]:
    """Documents a shard: as many whole documents, in order, as fit the limit."""
    groups: list[list[int]] = [[]]
    for length in lengths:
        if groups[-1] and sum(groups[-1]) + length > limit:
            groups.append([])
        groups[-1].append(length)
    return [len(group) for group in groups]


@dataclass(frozen=True)
class Layer:
    """One layer of the run, dense.

    Attributes:
        sae: the dictionary as sae-lens loads it.
        directions: float64 [d_sae, d_model], what one unit of each raw code adds to the reconstruction; norm: their norms.
        h: side -> float64 [tokens, d_model].
        raw: side -> float32 [tokens, d_sae], ``sae.encode`` of the tokens that count, 0 elsewhere.
        scaled: side -> float64 [tokens, d_sae], raw code x norm.
        decoded: side -> float64 [tokens, d_model].
        counted: bool [tokens].
        there: side -> bool [tokens], where it was compared with the base: all that count, but for the rerun.
        mean, median_norm: of the pilot; mean_delta: variant -> mean of its change there.
        pilot_codes: float32, the base's codes on the pilot's counted tokens; pilot_fvu: the dictionary's fvu there.
    """

    layer: int
    sae: SAE
    directions: np.ndarray
    norm: np.ndarray
    h: dict[Side, np.ndarray]
    raw: dict[Side, np.ndarray]
    scaled: dict[Side, np.ndarray]
    decoded: dict[Side, np.ndarray]
    counted: np.ndarray
    there: dict[Side, np.ndarray]
    mean: np.ndarray
    mean_delta: dict[str, np.ndarray]
    median_norm: float
    pilot: np.ndarray
    pilot_codes: np.ndarray
    pilot_fvu: float


class Reference:
    """Every table of the store, computed from a recording of the run.

    Args:
        config: the run's configuration, as in the YAML file.
        record: what :func:`recording` gave.
    """

    def __init__(self, config: dict, record: Recording) -> None:
        self.config, self.record = config, record
        self.variants = list(config["variants"])
        self.models = ["base", *self.variants]
        self.twins = [f"twin_{draw}" for draw in range(1, config["twins"] + 1)]
        self.tokenizer = PreTrainedTokenizerFast.from_pretrained(config["base"])
        self.documents = read_documents(config, self.tokenizer)
        lengths = [len(document.token_ids) for document in self.documents]
        self.document = np.repeat(np.arange(len(lengths)), lengths)
        self.position = np.concatenate([np.arange(length) for length in lengths])
        self.token_id = np.concatenate([document.token_ids for document in self.documents])
        self.segment = np.concatenate([document.segments for document in self.documents])
        self.domain = np.repeat([document.domain for document in self.documents], lengths)
        names = [(document.domain, document.cluster) for document in self.documents]
        self.cluster = np.repeat([sorted(set(names)).index(name) for name in names], lengths)
        self.context = self.position // (config["context_length"] - 1)  # one place of each window is BOS
        sizes = shard_sizes(lengths, config["shard_tokens"])
        self.part = np.repeat(np.repeat(np.arange(len(sizes)), sizes), lengths)
        self.first_row = np.searchsorted(self.part, np.arange(len(sizes)))
        self.layers = {layer.layer: layer for layer in map(self._dense_layer, config["saes"])}
        self._each: dict[tuple[Side, int], dict[str, np.ndarray]] = {}
        self._paired: dict[tuple[Side, int], Pair] = {}
        self._tables: dict[str, pd.DataFrame] = {}
        self._windows: dict[int, np.ndarray] = {}

    @property
    def n_tokens(self) -> int:
        """Document tokens of the run."""
        return len(self.token_id)

    @cached_property
    def domains(self) -> list[str]:
        """Labels, sorted."""
        return sorted(set(self.domain))

    def batches(self) -> Iterator[Batch]:
        """The run's batches, rows numbered over the whole run."""
        for shard, batches in self.record.shards.items():
            for rows, residuals in batches:
                yield rows + self.first_row[shard], residuals

    def side(self, variant: str, control: str) -> Side:
        """What is compared with the base in the rows of a control."""
        if control == "observed":
            return variant
        return ("base", "rerun") if control == "rerun" else (variant, control)

    def margins(self, layer: int, side: Side = "base") -> Iterator[tuple[str, str, np.ndarray]]:
        """(domain, segment, tokens that count) of each group that layer metrics are given for."""
        counted = self.layers[layer].there[side]
        groups = [("all", "all", counted)]
        groups += [(domain, "all", counted & (self.domain == domain)) for domain in self.domains]
        groups += [("all", segment, counted & (self.segment == segment)) for segment in sorted(set(self.segment))]
        return (group for group in groups if group[2].any())

    # ---- tables ----

    def table(self, name: str) -> pd.DataFrame:
        """Expected rows of a table of schema.sql, worked out once."""
        if name not in self._tables:
            self._tables[name] = pd.DataFrame(list(getattr(self, f"_{name}")()))
        return self._tables[name].copy()

    def _documents(self) -> Iterator[dict]:
        for number, document in enumerate(self.documents):
            first = int(np.searchsorted(self.document, number))
            part = int(self.part[first])
            yield {
                "document": number, "source": document.source, "domain": document.domain, "cluster": document.cluster,
                "part": part,
                "first_row": first - int(self.first_row[part]), "n_tokens": len(document.token_ids), "has_codes": True,
            }  # fmt: skip

    def _tokens(self) -> Iterator[dict]:
        columns = (self.document, self.position, self.context, self.token_id, self.segment)
        for values in zip(*columns, strict=True):
            yield dict(zip(("document", "position", "context", "token_id", "segment"), values, strict=True))

    def _layers(self) -> Iterator[dict]:
        for number, layer in self.layers.items():
            metadata = layer.sae.cfg.metadata
            paths = {int(Path(entry["path"]).name.split("_")[1]): Path(entry["path"]).name for entry in self.config["saes"]}
            yield {
                "layer": number, "hook_name": metadata["hook_name"], "sae": paths[number],
                "architecture": layer.sae.cfg.architecture(), "d_model": layer.mean.size, "d_sae": layer.norm.size,
                "n_tokens": int(layer.counted.sum()), "n_sinks": int((~layer.counted).sum()),
                "median_norm": layer.median_norm, "mean_norm": np.linalg.norm(layer.mean),
                "self_test_fvu": layer.pilot_fvu, "self_test_l0": (layer.pilot_codes > 0).sum(1).mean(),
            }  # fmt: skip

    def _features(self) -> Iterator[dict]:
        for number, layer in self.layers.items():
            density = (layer.raw["base"][layer.counted] > 0).mean(0)
            for feature in range(layer.norm.size):
                yield {
                    "layer": number, "feature": feature, "decoder_norm": layer.norm[feature], "density": density[feature]
                }  # fmt: skip

    def _layer_metrics(self) -> Iterator[dict]:
        for variant, number in self._pairs():
            for control in ("observed", *self.config["controls"], *self.twins):
                side = self.side(variant, control)
                for domain, segment, tokens in self.margins(number, side):
                    key = {"variant": variant, "layer": number, "domain": domain, "segment": segment, "control": control}
                    size = {
                        "n_tokens": int(tokens.sum()), "n_documents": len(set(self.document[tokens])),
                        "n_clusters": len(set(self.cluster[tokens])),
                    }  # fmt: skip
                    values = self.metrics(side, number, tokens)
                    excesses = {}
                    if control != "observed":
                        excesses = self._excesses(variant, number, tokens, values, whole=control != "rerun")
                    if (domain, segment) == ("all", "all") and control in ("observed", *self.twins):
                        values |= self._counts(side, number)
                        if control == "observed":
                            values["n_seen"] = self._seen(variant, number)
                        else:
                            observed = self._counts(variant, number)
                            excesses |= {name: observed[name] - values[name] for name in ("n_halved", "n_doubled")}
                    if (domain, segment, control) == ("all", "all", "observed"):
                        values |= self._shape(variant, number, tokens)
                    for metric, value in values.items():
                        yield {**key, "metric": metric, "value": value, "excess": excesses.get(metric, np.nan), **size}

    def _excesses(
        self, variant: str, number: int, tokens: np.ndarray, values: dict[str, float], whole: bool
    ) -> dict[str, float]:
        """How much more changed than under a control, over the control's tokens; whole: whether those are all there are."""
        observed = self.metrics(variant, number, tokens)
        more = {name: observed[name] - values[name] for name in ("l1_divergence", "l0_variant", "l0_inflation", "fvu_variant")}
        less = {n: values[n] - observed[n] for n in ("overlap", "weighted_overlap", "latent_cosine", "delta_coverage")}
        if not whole:
            del more["fvu_variant"]
        return more | less

    def _counts(self, side: Side, number: int) -> dict[str, float]:
        """How many of the features that count lost half, and how many doubled."""
        pair = self.pair(side, number)
        change = pair.change[pair.is_counted]
        return {"n_halved": int((change <= -0.5).sum()), "n_doubled": int((change >= 0.5).sum())}

    def _seen(self, variant: str, number: int) -> int:
        """Of how many features that fire a material change could have been seen, where the dictionary fits."""
        fires = ~np.isnan(self.pair(variant, number).change)
        verdict = self.evidence[variant, number]["verdict"]
        return int((fires & (verdict != "could not be seen") & (verdict != "does not fit")).sum())

    def pair(self, side: Side, number: int) -> Pair:
        """The base and a variant or twin of it, on the tokens that count."""
        if (side, number) not in self._paired:
            layer = self.layers[number]
            tokens = layer.counted
            a, b = layer.scaled["base"][tokens], layer.scaled[side][tokens]
            size = self.metrics(side, number, tokens)["relative_shift"]
            self._paired[side, number] = Pair(a, b, self.cluster[tokens], size)
        return self._paired[side, number]

    def _shape(self, variant: str, number: int, tokens: np.ndarray) -> dict[str, float]:
        """effective_rank and mean_share, from the singular values of the centred change."""
        if not self.config["spectrum"]:
            return {}
        delta, size, values, _ = self._spectrum_of(variant, number, tokens)
        if not size:
            return {"effective_rank": np.nan, "mean_share": np.nan}
        p = [x / values.sum() for x in values if x > 1e-12 * size]  # smaller ones are rounding
        rank = np.exp(-sum(x * np.log(x) for x in p)) if p else np.nan
        return {"effective_rank": rank, "mean_share": len(delta) * (delta.mean(0) ** 2).sum() / size}

    def _spectrum_of(self, variant: str, number: int, tokens: np.ndarray) -> tuple[np.ndarray, float, np.ndarray, np.ndarray]:
        """(delta, sum of its squares, eigenvalues of its scatter about the mean, their directions), by singular values."""
        h = self.layers[number].h
        delta = h[variant][tokens] - h["base"][tokens]
        _, singular, directions = np.linalg.svd(delta - delta.mean(0), full_matrices=False)
        return delta, (delta**2).sum(), singular**2, directions

    def intervals(self, variant: str, number: int, control: str) -> Iterator[dict]:
        """Half the width of each interval of 95 % by leaving out one cluster after the other; groups of 20 clusters on."""
        side = self.side(variant, control)
        for domain, segment, tokens in self.margins(number, side):
            clusters = sorted(set(self.cluster[tokens]))
            if len(clusters) < 20:
                continue
            labels = [self.domain[np.flatnonzero(self.cluster == c)[0]] for c in clusters]
            rests = [tokens & (self.cluster != c) for c in clusters]
            without = pd.DataFrame([self.metrics(side, number, rest) for rest in rests])
            key = {"variant": variant, "layer": number, "control": control, "domain": domain, "segment": segment}
            observed = None
            if control != "observed":
                observed = pd.DataFrame([self.metrics(variant, number, rest) for rest in rests])
            for metric in without:
                half = half_width(without[metric].to_numpy(), labels)
                paired = np.nan if observed is None else half_width((observed[metric] - without[metric]).to_numpy(), labels)
                yield {**key, "metric": metric, "half": half, "excess_half": paired}

    def _fit(self) -> Iterator[dict]:
        for variant, number in self._pairs():
            for domain, segment, tokens in self.margins(number):
                if segment == "all":
                    values = self.metrics(variant, number, tokens)
                    base, changed = values["fvu_base"], values["fvu_variant"]
                    gate = "strained"
                    if changed <= 0.5 and changed <= 1.5 * base:
                        gate = "fits"
                    if changed > 0.8 or changed > 3 * base:
                        gate = "does not fit"
                    yield {
                        "variant": variant, "layer": number, "domain": domain,
                        "fvu_base": base, "fvu_variant": changed, "gate": gate,
                    }  # fmt: skip

    def _document_sums(self) -> Iterator[dict]:
        for variant, number in self._pairs():
            each = self.per_token(variant, number)
            frame = pd.DataFrame({"document": self.document, "segment": self.segment, **each})
            frame = frame[self.layers[number].counted]
            for (document, segment), rows in frame.groupby(["document", "segment"]):
                sums = {name: rows[name].sum() for name in each}
                yield {
                    "variant": variant, "layer": number, "document": document, "segment": segment,
                    "n_tokens": len(rows), **sums,
                }  # fmt: skip

    def _token_metrics(self) -> Iterator[dict]:
        names = ("cosine", "overlap", "l1_divergence", "l0_base", "l0_variant")
        for variant, number in self._pairs():
            each = self.per_token(variant, number)
            for token in np.flatnonzero(self.layers[number].counted):
                yield {
                    "variant": variant, "layer": number, "document": self.document[token],
                    "position": self.position[token], **{name: each[name][token] for name in names},
                }  # fmt: skip

    def _feature_stats(self) -> Iterator[dict]:
        for variant, number in self._pairs():
            layer = self.layers[number]
            pooled = self._facts(variant, number) | self.evidence[variant, number]
            for domain, segment, tokens in self.margins(number):
                if segment != "all":
                    continue
                a, b = layer.scaled["base"][tokens], layer.scaled[variant][tokens]
                for feature in np.flatnonzero((a > 0).any(0) | (b > 0).any(0)):
                    row = feature_numbers(a[:, feature], b[:, feature], self.document[tokens], self.cluster[tokens])
                    if domain == "all":
                        row |= dict.fromkeys(("replicate_low", "replicate_high"), np.nan)
                        row |= {name: values[feature] for name, values in pooled.items()}
                    else:
                        row |= dict.fromkeys(("std_shift", "magnitude_ratio", "replicate_low", "replicate_high"), np.nan)
                        row |= dict.fromkeys(pooled, np.nan) | {"verdict": None, "reason": None}
                    yield {
                        "variant": variant, "layer": number, "domain": domain, "feature": feature, "n_tokens": len(a), **row
                    }  # fmt: skip

    def _facts(self, variant: str, number: int) -> dict[str, np.ndarray]:
        """The pooled columns of feature_stats that need no twins, each [d_sae]."""
        layer, pair = self.layers[number], self.pair(variant, number)
        change, cosine = pair.change, cosine_table(layer.directions, layer.directions)
        moved = np.full(len(change), np.nan)
        for j in np.flatnonzero(np.abs(change) >= 0.5):
            others = [k for k in np.flatnonzero(np.abs(change) >= 0.5) if cosine[j, k] > 0.7 and change[j] * change[k] < 0]
            moved[j] = max(others, key=lambda k: cosine[j, k]) if others else np.nan
        return {
            "change_low": pair.intervals[:, 0],
            "change_high": pair.intervals[:, 1],
            "near_threshold": self._near_share(variant, number),
            "did_shift": self._did_shift(variant, number),
            "moved_to": moved,
        }

    @cached_property
    def evidence(self) -> dict[tuple[str, int], dict[str, np.ndarray]]:
        """(variant, layer) -> the columns of feature_stats that twins and replicates decide, each [d_sae]."""
        found = {}
        for first in (name for name in self.variants if "replicate_of" not in self.config["variants"][name]):
            for number in self.layers:
                found |= {(name, number): columns for name, columns in decided(self.recipe(first, number)).items()}
        return found

    def recipe(self, first: str, number: int) -> dict[str, RecipeRun]:
        """A variant and its replicates at one layer, by name."""
        layer, fit = self.layers[number], self.table("fit").set_index(["variant", "layer", "domain"])["gate"]
        return {
            name: RecipeRun(
                self.pair(name, number),
                [self.pair((name, twin), number) for twin in self.twins],
                layer.scaled[name, "rescaled"][layer.counted],
                fit[name, number, "all"] != "does not fit",
            )
            for name, given in self.config["variants"].items()
            if first in (name, given.get("replicate_of"))
        }

    def _near_share(self, variant: str, number: int) -> np.ndarray:
        """Of the tokens where a feature fires on one side only, the share that lies within 5 % of where it begins to."""
        layer = self.layers[number]
        a, b = (layer.raw[side][layer.counted].astype(np.float64) for side in ("base", variant))
        if layer.sae.cfg.architecture() == "topk":
            limits = [np.where(side > 0, side, np.inf).min(1, keepdims=True) for side in (a, b)]
        else:
            limits = [layer.sae.threshold.detach().numpy().astype(np.float64)] * 2
        flips = (a > 0) != (b > 0)
        near = flips & np.where(a > 0, a <= 1.05 * limits[0], b <= 1.05 * limits[1])
        return np.array([divided(x, y) for x, y in zip(near.sum(0), flips.sum(0), strict=True)])

    def _did_shift(self, variant: str, number: int) -> np.ndarray:
        """Shift on the variant's task - shift on neutral text."""
        layer = self.layers[number]
        change = layer.scaled[variant] - layer.scaled["base"]
        sides = []
        for chosen in (self.config["variants"][variant].get("task", []), self.config["neutral_domains"]):
            tokens = layer.counted & np.isin(self.domain, chosen)
            sides.append(change[tokens].mean(0) if tokens.any() else np.full(change.shape[1], np.nan))
        return sides[0] - sides[1]

    def _feature_segments(self) -> Iterator[dict]:
        for variant, number in self._pairs():
            layer = self.layers[number]
            whole = (layer.scaled[variant] - layer.scaled["base"]).sum(0)
            whole[np.abs(whole) < 1e-12 * (layer.scaled[variant] + layer.scaled["base"]).sum(0)] = 0  # rounding
            for domain, segment, tokens in self.margins(number):
                if domain != "all" or segment == "all":
                    continue
                a, b = layer.scaled["base"][tokens], layer.scaled[variant][tokens]
                for feature in np.flatnonzero((a > 0).any(0) | (b > 0).any(0)):
                    row = feature_numbers(a[:, feature], b[:, feature], self.document[tokens], self.cluster[tokens])
                    names = ("n11", "n10", "n01", "mean_base", "mean_variant", "shift")
                    part = (b - a)[:, feature].sum()
                    yield {
                        "variant": variant, "layer": number, "segment": segment, "feature": feature,
                        **{name: row[name] for name in names},
                        "share": part / whole[feature] if whole[feature] != 0 else np.nan,
                    }  # fmt: skip

    def _spectrum(self) -> Iterator[dict]:
        for variant, number in self._pairs():
            layer = self.layers[number]
            delta, size, values, directions = self._spectrum_of(variant, number, layer.counted)
            if not size:
                continue
            mean = delta.mean(0)
            found = [(len(delta) * (mean**2).sum() / size, mean / np.linalg.norm(mean))]
            found += [(value / size, along) for value, along in zip(values, directions, strict=True) if value > 1e-12 * size]
            for component, (share, direction) in enumerate(found[: 1 + self.config["spectrum"]]):
                along = cosine_table(direction[None], layer.directions)[0]
                nearest = np.argsort(-np.abs(along))[:5]
                yield {
                    "variant": variant, "layer": number, "component": component, "share": share, "direction": direction,
                    "features": nearest, "cosines": along[nearest],
                }  # fmt: skip

    def chance(self, number: int, draws: int) -> np.ndarray:
        """The largest |cosine| with a decoder row of random directions drawn from the covariance of h_a in the pilot."""
        layer = self.layers[number]
        directions = np.random.default_rng(1).multivariate_normal(
            np.zeros(layer.pilot.shape[1]), np.cov(layer.pilot.astype(np.float64).T), size=draws
        )
        return np.abs(cosine_table(directions, layer.directions)).max(1)

    def _replicas(self) -> Iterator[dict]:
        for entry in self.config["replicas"]:
            replica = self._dense_layer(entry, self.layers)
            layer, tokens = self.layers[replica.layer], replica.counted
            cosine = cosine_table(layer.directions, replica.directions)
            for variant in self.variants:
                for feature, nearest in enumerate(cosine.argmax(1)):
                    a, b = (replica.scaled[side][tokens, nearest] for side in ("base", variant))
                    row = feature_numbers(a, b, self.document[tokens], self.cluster[tokens])
                    names = ("freq_base", "freq_variant", "log_ratio", "shift", "std_shift")
                    yield {
                        "variant": variant, "layer": replica.layer, "feature": feature, "replica_feature": nearest,
                        "cosine": cosine[feature, nearest], **{name: row[name] for name in names},
                    }  # fmt: skip

    def _histograms(self) -> Iterator[dict]:
        for number, layer in self.layers.items():
            edges = self.edges[number]
            for model in self.models:
                for feature in range(layer.norm.size):
                    values = layer.scaled[model][:, feature]
                    values = np.clip(values[values > 0], edges[0], np.nextafter(edges[-1], 0))
                    counts = [int(((values >= low) & (values < high)).sum()) for low, high in pairwise(edges)]
                    for chosen in np.flatnonzero(counts):
                        yield {
                            "layer": number, "feature": feature, "model": model, "bin": chosen, "count": counts[chosen]
                        }  # fmt: skip

    edges: dict[int, np.ndarray]
    """Layer -> bin edges, given by the test once it has checked them."""

    def _contexts(self) -> Iterator[dict]:
        for variant, number in self._pairs():
            layer = self.layers[number]
            a, b = layer.scaled["base"], layer.scaled[variant]
            drawn = np.where((a > 0) | (b > 0), self._spread_draws(number), 0.0)
            for ranking, score in {"base": a, "variant": b, "increase": b - a, "decrease": a - b, "spread": drawn}.items():
                for feature in range(layer.norm.size):
                    for rank, token in enumerate(self._best(score[:, feature]), start=1):
                        span = self._window(token)
                        yield {
                            "variant": variant, "layer": number, "feature": feature, "ranking": ranking, "rank": rank,
                            "score": score[token, feature], "document": self.document[token],
                            "position": self.position[token], "peak": int(np.searchsorted(span, token)),
                            "n_window": len(span), "base_at": np.flatnonzero(a[span, feature]),
                            "base_activations": a[span, feature][a[span, feature] > 0],
                            "variant_at": np.flatnonzero(b[span, feature]),
                            "variant_activations": b[span, feature][b[span, feature] > 0],
                        }  # fmt: skip

    def _spread_draws(self, number: int) -> np.ndarray:
        """float32 [tokens, d_sae]: the numbers that the ranking by chance goes by, a hash of document, position and feature."""
        sources = np.array([text_key(document.source) for document in self.documents])
        keys = torch.from_numpy(sources[self.document])[:, None]
        features = torch.arange(self.layers[number].norm.size)[None, :]
        return uniform(mix(keys, torch.from_numpy(self.position)[:, None], features, text_key("spread"))).numpy()

    def _best(self, score: np.ndarray) -> list[int]:
        """The best tokens of one feature, each text once, the earlier token first where scores tie (as float32)."""
        kept, texts = [], set()
        for token in sorted(np.flatnonzero(score > 0), key=lambda token: (-np.float32(score[token]), token)):
            span = self._window(token)
            text = (tuple(self.token_id[span]), int(np.searchsorted(span, token)))
            if text not in texts:
                texts.add(text)
                kept.append(int(token))
        return kept[: self.config["contexts"]]

    def _window(self, token: int) -> np.ndarray:
        """Tokens around one, within its document and context window."""
        if token not in self._windows:
            self._windows[token] = self._tokens_around(token)
        return self._windows[token]

    def _tokens_around(self, token: int) -> np.ndarray:
        around = np.arange(token - self.config["context_before"], token + self.config["context_after"] + 1)
        around = around[(around >= 0) & (around < self.n_tokens)]
        same = (self.document[around] == self.document[token]) & (self.context[around] == self.context[token])
        return around[same]

    # ---- formulas ----

    def per_token(self, variant: Side, number: int) -> dict[str, np.ndarray]:
        """What is summed over tokens: one number for each token of the run."""
        if (variant, number) not in self._each:
            self._each[variant, number] = self._compute_per_token(variant, number)
        return self._each[variant, number]

    def _compute_per_token(self, variant: Side, number: int) -> dict[str, np.ndarray]:
        layer = self.layers[number]
        h_a, h_b = layer.h["base"], layer.h[variant]
        a, b = layer.scaled["base"], layer.scaled[variant]
        delta = h_b - h_a
        on_a, on_b = a > 0, b > 0
        union, both = (on_a | on_b).sum(1), (on_a & on_b).sum(1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return {
                "cosine": cosines(h_a, h_b),
                "centred_cosine": cosines(h_a - layer.mean, h_b - layer.mean),
                "base_norm2": (h_a**2).sum(1),
                "variant_norm2": (h_b**2).sum(1),
                "base_centred2": ((h_a - layer.mean) ** 2).sum(1),
                "variant_centred2": ((h_b - layer.mean) ** 2).sum(1),
                "delta_norm2": (delta**2).sum(1),
                "base_error2": ((h_a - layer.decoded["base"]) ** 2).sum(1),
                "variant_error2": ((h_b - layer.decoded[variant]) ** 2).sum(1),
                "delta_error2": ((delta - (layer.decoded[variant] - layer.decoded["base"])) ** 2).sum(1),
                "overlap": np.where(union > 0, both / union, 1.0),
                "minimum": np.minimum(a, b).sum(1),
                "maximum": np.maximum(a, b).sum(1),
                "latent_cosine": np.nan_to_num(cosines(a, b)),
                "n_latent_cosine": (union > 0).astype(int),
                "l1_divergence": np.abs(b - a).sum(1),
                "l0_base": on_a.sum(1),
                "l0_variant": on_b.sum(1),
            }

    def metrics(self, variant: Side, number: int, tokens: np.ndarray) -> dict[str, float]:
        """Layer metrics of a group of tokens, from the table in docs/metrics.md."""
        layer = self.layers[number]
        h_a, h_b = layer.h["base"][tokens], layer.h[variant][tokens]
        a, b = layer.scaled["base"][tokens], layer.scaled[variant][tokens]
        decoded_a, decoded_b = layer.decoded["base"][tokens], layer.decoded[variant][tokens]
        delta, decoded_delta = h_b - h_a, decoded_b - decoded_a
        each = {name: values[tokens] for name, values in self.per_token(variant, number).items()}
        coded = each["n_latent_cosine"] > 0
        return {
            "cosine": each["cosine"].mean(),
            "centred_cosine": each["centred_cosine"].mean(),
            "mean_alignment": np.linalg.norm(layer.mean) / np.sqrt((h_a**2).sum(1).mean()),
            "relative_shift": np.sqrt((delta**2).sum() / (h_a**2).sum()),
            "overlap": each["overlap"].mean(),
            "weighted_overlap": divided(np.minimum(a, b).sum(), np.maximum(a, b).sum()),
            "latent_cosine": each["latent_cosine"][coded].mean() if coded.any() else np.nan,
            "l1_divergence": np.abs(b - a).sum(1).mean(),
            "l0_base": (a > 0).sum(1).mean(),
            "l0_variant": (b > 0).sum(1).mean(),
            "l0_inflation": divided((b > 0).sum(), (a > 0).sum()),
            "fvu_base": unexplained(h_a, decoded_a),
            "fvu_variant": unexplained(h_b, decoded_b),
            "delta_coverage": 1 - divided(((delta - decoded_delta) ** 2).sum(), (delta**2).sum()),
            "no_code_share": (~coded).mean(),
        }

    def _pairs(self) -> Iterator[tuple[str, int]]:
        return ((variant, number) for variant in self.variants for number in self.layers)

    # ---- dense arrays ----

    def _dense_layer(self, entry: dict, replica_of: Mapping[int, Layer] | None = None) -> Layer:
        """replica_of: layers whose dictionaries say which tokens count, where this is a second one; without controls."""
        sae = SAE.load_from_disk(entry["path"])
        number = int(sae.cfg.metadata["hook_name"].split(".")[1])
        pilot = as_read(sae, self._pilot_residuals(number, "base"))
        norms = np.linalg.norm(pilot.astype(np.float64), axis=1)
        median = float(np.median(norms))
        limit = self.config["sink_factor"] * median
        controls = [] if replica_of else [*self.config["controls"], *self.twins]
        sides: list[Side] = [*self.models, *dict.fromkeys(self.side(v, c) for c in controls for v in self.variants)]
        h = {side: np.zeros((self.n_tokens, sae.cfg.d_in)) for side in sides}
        raw = {side: np.zeros((self.n_tokens, sae.cfg.d_sae), dtype=np.float32) for side in sides}
        for rows, residuals in self.batches():
            read = {model: as_read(sae, residuals[model][number]) for model in self.models}
            counts = np.linalg.norm(read["base"].astype(np.float64), axis=1) <= limit
            counts = replica_of[number].counted[rows] if replica_of else counts
            if controls:
                read |= {(v, t): as_read(sae, residuals[f"{v}:{t}"][number]) for v in self.variants for t in self.twins}
            for side, of_side in read.items():
                h[side][rows] = of_side
                raw[side][rows[counts]] = encode(sae, of_side[counts])
        counted = replica_of[number].counted if replica_of else np.linalg.norm(h["base"], axis=1) <= limit
        there = dict.fromkeys(sides, counted)
        for side, rows, residuals in self._instead(number) if controls else ():
            residuals = as_read(sae, residuals) if side == ("base", "rerun") else residuals  # controls are made of what is read
            rows, residuals = rows[counted[rows]], residuals[counted[rows]]
            h[side][rows], raw[side][rows] = residuals, encode(sae, residuals)
        if "rerun" in controls:
            there["base", "rerun"] = counted & np.isin(self.document, self.run_again)
        exact = SAE.load_from_disk(entry["path"]).double()
        directions = unit_directions(exact)
        norm = np.linalg.norm(directions, axis=1)
        counts = norms <= limit
        pilot_codes = encode(sae, pilot[counts])
        exact_pilot = pilot[counts].astype(np.float64)
        changed = {v: as_read(sae, self._pilot_residuals(number, v))[counts] - pilot[counts] for v in self.variants if controls}
        return Layer(
            layer=number,
            sae=sae,
            directions=directions,
            norm=norm,
            h=h,
            raw=raw,
            scaled={side: codes.astype(np.float64) * norm for side, codes in raw.items()},
            decoded={side: decode(exact, codes) for side, codes in raw.items()},
            counted=counted,
            there=there,
            mean=exact_pilot.mean(0),
            mean_delta={variant: delta.astype(np.float64).mean(0) for variant, delta in changed.items()},
            median_norm=median,
            pilot=pilot[counts],
            pilot_codes=pilot_codes,
            pilot_fvu=unexplained(exact_pilot, decode(exact, pilot_codes)),
        )

    @cached_property
    def run_again(self) -> np.ndarray:
        """Documents that the base read a second time."""
        shards = self.record.again.items()
        rows = [rows + self.first_row[shard] for shard, batches in shards for rows, _ in batches]
        return np.unique(self.document[np.concatenate(rows)])

    def _instead(self, layer: int) -> Iterator[tuple[Side, np.ndarray, np.ndarray]]:
        """(side, rows of the run, residuals) of every control, batch by batch."""
        for shard, batches in self.record.again.items():
            for rows, residuals in batches:
                yield ("base", "rerun"), rows + self.first_row[shard], residuals["base"][layer]
        starts = np.searchsorted(self.document, np.arange(len(self.documents)))
        for shard, found in self.record.controls.items():
            first = self.document[self.first_row[shard]]
            for one in found:
                if one.layer == layer:
                    yield (one.variant, one.control), starts[first + one.document] + one.position, one.residuals

    def _pilot_residuals(self, layer: int, model: str) -> np.ndarray:
        """float32: a model's residuals of the pilot's tokens, in reading order."""
        batches = [(rows, residuals[model][layer]) for rows, residuals in self.record.pilot if model in residuals]
        order = np.argsort(np.concatenate([rows for rows, _ in batches]))
        return np.concatenate([residuals for _, residuals in batches])[order]


def feature_numbers(a: np.ndarray, b: np.ndarray, document: np.ndarray, cluster: np.ndarray) -> dict:
    """One feature's columns of feature_stats from its scaled activations on N tokens."""
    on_a, on_b = a > 0, b > 0
    n11, n10, n01 = int((on_a & on_b).sum()), int((on_a & ~on_b).sum()), int((~on_a & on_b).sum())
    n_a, n_b = n11 + n10, n11 + n01
    shift = (b - a).mean()
    change = divided(b.sum() - a.sum(), max(a.sum(), b.sum()))
    kind = "steady"
    if change <= -0.5:
        kind = "vanished" if change <= -0.9 else "weakened"
    elif change >= 0.5:
        kind = "appeared" if change >= 0.9 else "strengthened"
    return {
        "n11": n11,
        "n10": n10,
        "n01": n01,
        "n_documents": len(set(document[on_a | on_b])),
        "n_clusters": len(set(cluster[on_a | on_b])),
        "freq_base": n_a / len(a),
        "freq_variant": n_b / len(a),
        "log_ratio": np.log2((n_b + 0.5) / (n_a + 0.5)),
        "mean_base": a.mean(),
        "mean_variant": b.mean(),
        "shift": shift,
        "change": change,
        "loss": 1 - b.sum() / a.sum() if change < 0 else np.nan,
        "gain": divided(b.sum(), a.sum()) if change > 0 else np.nan,
        "std_shift": divided(shift, np.sqrt((a.var() + b.var()) / 2)),
        "suppression": divided(n10, n_a),
        "emergence": divided(n01, n_b),
        "magnitude_ratio": divided(b[on_a & on_b].sum(), a[on_a & on_b].sum()),
        "kind": kind,
    }


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Cosine of each row with the other array's; NaN where one of them is nothing."""
    return (left * right).sum(1) / (np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1))


def unexplained(h: np.ndarray, decoded: np.ndarray) -> float:
    """fvu: the share of variance about the mean that a reconstruction leaves; NaN for a single token."""
    return divided(((h - decoded) ** 2).sum(), ((h - h.mean(0)) ** 2).sum())


def divided(numerator: float, denominator: float) -> float:
    """A ratio; NaN where there is nothing to divide by."""
    return numerator / denominator if denominator > 0 else np.nan


def as_read(sae: SAE, residuals: np.ndarray) -> np.ndarray:
    """float32 [n, d_model]: what a dictionary was trained on: the residual, or with center_writing_weights that less its mean.

    In torch, so that the float32 mean is rounded as the extractor's; test_centred.py compares it with TransformerLens.
    """
    if not (sae.cfg.metadata.model_from_pretrained_kwargs or {}).get("center_writing_weights"):
        return residuals
    tensor = torch.from_numpy(residuals)
    return (tensor - tensor.mean(1, keepdim=True)).numpy()


def encode(sae: SAE, residuals: np.ndarray) -> np.ndarray:
    """float32 [tokens, d_sae]: sae-lens's own dense codes."""
    with torch.inference_mode():
        return sae.encode(torch.from_numpy(np.ascontiguousarray(residuals))).numpy()


def decode(exact: SAE, codes: np.ndarray) -> np.ndarray:
    """float64 [tokens, d_model]: sae-lens's own decoder in float64."""
    with torch.inference_mode():
        return exact.decode(torch.from_numpy(codes).double()).numpy()


def unit_directions(exact: SAE) -> np.ndarray:
    """float64 [d_sae, d_model]: what one unit of each code adds to the reconstruction."""
    return decode(exact, np.eye(exact.cfg.d_sae)) - decode(exact, np.zeros((1, exact.cfg.d_sae)))


def cosine_table(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """[rows, others]: cosine of each with each."""
    rows, others = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (rows, others))
    return rows @ others.T


def window_by_window(model: torch.nn.Module, reference: Reference, layer: int) -> np.ndarray:
    """float32 [tokens, d_model]: a layer's output by transformers' own hidden states, one unpadded window at a time."""
    rows = []
    bos = reference.tokenizer.bos_token_id
    step = reference.config["context_length"] - 1
    with torch.inference_mode():
        for document in reference.documents:
            for start in range(0, len(document.token_ids), step):
                window = torch.tensor([[bos, *document.token_ids[start : start + step]]])
                rows.append(model(window, output_hidden_states=True).hidden_states[layer + 1][0, 1:].numpy())
    return np.concatenate(rows)
