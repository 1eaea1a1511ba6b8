"""docs/metrics.md a second time, naively: dense float64 numpy over every token and feature at once.

The store's sums are made batch by batch from sparse codes; here everything is written down from the definitions, on arrays
[tokens, features] that only a small run can afford. What is shared with the extractor is the input alone: the float32
residuals that its batches gave (recorded on the way, so that both sides round alike; a test compares them with
transformers' own hidden states) and ``sae.encode`` of sae-lens.
"""

import hashlib
import json
from collections.abc import Iterator
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

Batch = tuple[np.ndarray, dict[str, dict[int, np.ndarray]]]
"""Rows of a shard, and model -> layer -> float32 residuals of those rows."""


@dataclass
class Recording:
    """What the models gave during a run: the pilot's batches and each shard's."""

    pilot: list[Batch] = field(default_factory=list)
    shards: dict[int, list[Batch]] = field(default_factory=dict)


@contextmanager
def recording() -> Iterator[Recording]:
    """Record every residual that a run reads inside the context."""
    import extract.pipeline
    import extract.shards

    record = Recording()
    with pytest.MonkeyPatch.context() as patch:
        real_shard = extract.pipeline.run_shard

        def run_shard(context, shard, *rest):
            record.shards[shard.index] = []
            return real_shard(context, shard, *rest)

        def listening(real, into):
            def read_residuals(*arguments):
                rows, residuals = real(*arguments)
                copied = {m: {layer: h.numpy().copy() for layer, h in at.items()} for m, at in residuals.items()}
                into().append((rows.numpy().copy(), copied))
                return rows, residuals

            return read_residuals

        patch.setattr(extract.pipeline, "run_shard", run_shard)
        patch.setattr(
            extract.pipeline, "read_residuals", listening(extract.pipeline.read_residuals, lambda: record.pilot)
        )
        latest = lambda: record.shards[max(record.shards)]  # noqa: E731
        patch.setattr(extract.shards, "read_residuals", listening(extract.shards.read_residuals, latest))
        yield record


@dataclass(frozen=True)
class Document:
    """One tokenised document, with the segment of each token."""

    source: str
    domain: str
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
    """Every document of the corpus in the order of a hash of its source, repeated and empty texts left out."""
    found, texts = [], set()
    records = []
    for entry in config["corpus"]:
        lines = Path(entry["path"]).read_text(encoding="utf-8").splitlines()
        records += [(entry["domain"], json.loads(line)) for line in lines]
    records.sort(key=lambda pair: hashlib.sha256(pair[1]["source"].encode()).hexdigest())
    for domain, record in records:
        text, marks = rendered(record)
        if text.strip() and text not in texts:
            texts.add(text)
            encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
            segments = [marks[end - 1] for _, end in encoded["offset_mapping"]]
            cut = config["document_tokens"]
            found.append(Document(record["source"], domain, encoded["input_ids"][:cut], segments[:cut]))
    return found


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
        h: model -> float64 [tokens, d_model].
        raw: model -> float32 [tokens, d_sae], ``sae.encode`` of the tokens that count, 0 elsewhere.
        scaled: model -> float64 [tokens, d_sae], raw code x norm of what one unit of it adds to the reconstruction.
        decoded: model -> float64 [tokens, d_model].
        counted: bool [tokens].
        mean, median_norm: of the pilot.
        pilot_codes: float32, the base's codes on the pilot's counted tokens; pilot_fvu: the dictionary's fvu there.
    """

    layer: int
    sae: SAE
    norm: np.ndarray
    h: dict[str, np.ndarray]
    raw: dict[str, np.ndarray]
    scaled: dict[str, np.ndarray]
    decoded: dict[str, np.ndarray]
    counted: np.ndarray
    mean: np.ndarray
    median_norm: float
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
        self.tokenizer = PreTrainedTokenizerFast.from_pretrained(config["base"])
        self.documents = read_documents(config, self.tokenizer)
        lengths = [len(document.token_ids) for document in self.documents]
        self.document = np.repeat(np.arange(len(lengths)), lengths)
        self.position = np.concatenate([np.arange(length) for length in lengths])
        self.token_id = np.concatenate([document.token_ids for document in self.documents])
        self.segment = np.concatenate([document.segments for document in self.documents])
        self.domain = np.repeat([document.domain for document in self.documents], lengths)
        self.context = self.position // (config["context_length"] - 1)  # one place of each window is BOS
        sizes = shard_sizes(lengths, config["shard_tokens"])
        self.part = np.repeat(np.repeat(np.arange(len(sizes)), sizes), lengths)
        self.first_row = np.searchsorted(self.part, np.arange(len(sizes)))
        self.layers = {layer.layer: layer for layer in map(self._dense_layer, config["saes"])}

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

    def margins(self, layer: int) -> Iterator[tuple[str, str, np.ndarray]]:
        """(domain, segment, tokens that count) of each group that layer metrics are given for."""
        counted = self.layers[layer].counted
        groups = [("all", "all", counted)]
        groups += [(domain, "all", counted & (self.domain == domain)) for domain in self.domains]
        groups += [("all", segment, counted & (self.segment == segment)) for segment in sorted(set(self.segment))]
        return (group for group in groups if group[2].any())

    # ---- tables ----

    def table(self, name: str) -> pd.DataFrame:
        """Expected rows of a table of schema.sql."""
        return pd.DataFrame(list(getattr(self, f"_{name}")()))

    def _documents(self) -> Iterator[dict]:
        for number, document in enumerate(self.documents):
            first = int(np.searchsorted(self.document, number))
            part = int(self.part[first])
            yield {
                "document": number, "source": document.source, "domain": document.domain, "part": part,
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
            for domain, segment, tokens in self.margins(number):
                size = {"n_tokens": int(tokens.sum()), "n_documents": len(set(self.document[tokens]))}
                for metric, value in self.metrics(variant, number, tokens).items():
                    yield {
                        "variant": variant, "layer": number, "domain": domain, "segment": segment, "metric": metric,
                        "control": "observed", "value": value, **size,
                    }  # fmt: skip

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
            for domain, segment, tokens in self.margins(number):
                if segment != "all":
                    continue
                a, b = layer.scaled["base"][tokens], layer.scaled[variant][tokens]
                for feature in np.flatnonzero((a > 0).any(0) | (b > 0).any(0)):
                    yield {
                        "variant": variant, "layer": number, "domain": domain, "feature": feature,
                        **feature_numbers(a[:, feature], b[:, feature], self.document[tokens]),
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
            for ranking, score in {"base": a, "variant": b, "increase": b - a, "decrease": a - b}.items():
                for feature in range(layer.norm.size):
                    for rank, token in enumerate(self._best(score[:, feature]), start=1):
                        span = self._window(token)
                        yield {
                            "variant": variant, "layer": number, "feature": feature, "ranking": ranking, "rank": rank,
                            "score": score[token, feature], "document": self.document[token],
                            "position": self.position[token], "peak": int(np.searchsorted(span, token)),
                            "token_ids": self.token_id[span], "base_values": a[span, feature],
                            "variant_values": b[span, feature],
                        }  # fmt: skip

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
        around = np.arange(token - self.config["context_before"], token + self.config["context_after"] + 1)
        around = around[(around >= 0) & (around < self.n_tokens)]
        same = (self.document[around] == self.document[token]) & (self.context[around] == self.context[token])
        return around[same]

    # ---- formulas ----

    def per_token(self, variant: str, number: int) -> dict[str, np.ndarray]:
        """What is summed over tokens: one number for each token of the run."""
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
                "code_delta_norm2": ((b - a) ** 2).sum(1),
                "l0_base": on_a.sum(1),
                "l0_variant": on_b.sum(1),
            }

    def metrics(self, variant: str, number: int, tokens: np.ndarray) -> dict[str, float]:
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

    def _dense_layer(self, entry: dict) -> Layer:
        sae = SAE.load_from_disk(entry["path"])
        number = int(sae.cfg.metadata["hook_name"].split(".")[1])
        h = {model: np.zeros((self.n_tokens, sae.cfg.d_in)) for model in self.models}
        raw = {model: np.zeros((self.n_tokens, sae.cfg.d_sae), dtype=np.float32) for model in self.models}
        pilot = self._pilot_residuals(number)
        norms = np.linalg.norm(pilot.astype(np.float64), axis=1)
        median = float(np.median(norms))
        limit = self.config["sink_factor"] * median
        for rows, residuals in self.batches():
            counts = np.linalg.norm(residuals["base"][number].astype(np.float64), axis=1) <= limit
            for model in self.models:
                h[model][rows] = residuals[model][number]
                raw[model][rows[counts]] = encode(sae, residuals[model][number][counts])
        exact = SAE.load_from_disk(entry["path"]).double()
        norm = unit_norms(exact)
        pilot = pilot[norms <= limit]
        pilot_codes = encode(sae, pilot)
        return Layer(
            layer=number,
            sae=sae,
            norm=norm,
            h=h,
            raw=raw,
            scaled={model: codes.astype(np.float64) * norm for model, codes in raw.items()},
            decoded={model: decode(exact, codes) for model, codes in raw.items()},
            counted=np.linalg.norm(h["base"], axis=1) <= limit,
            mean=pilot.astype(np.float64).mean(0),
            median_norm=median,
            pilot_codes=pilot_codes,
            pilot_fvu=unexplained(pilot.astype(np.float64), decode(exact, pilot_codes)),
        )

    def _pilot_residuals(self, layer: int) -> np.ndarray:
        """float32: the base's residuals of the pilot's tokens, in reading order."""
        rows = np.concatenate([rows for rows, _ in self.record.pilot])
        residuals = np.concatenate([residuals["base"][layer] for _, residuals in self.record.pilot])
        return residuals[np.argsort(rows)]


def feature_numbers(a: np.ndarray, b: np.ndarray, document: np.ndarray) -> dict:
    """One feature's columns of feature_stats from its scaled activations on N tokens."""
    on_a, on_b = a > 0, b > 0
    n11, n10, n01 = int((on_a & on_b).sum()), int((on_a & ~on_b).sum()), int((~on_a & on_b).sum())
    n_a, n_b = n11 + n10, n11 + n01
    shift = (b - a).mean()
    suppression, emergence = divided(n10, n_a), divided(n01, n_b)
    if shift == 0:
        kind = "unchanged"
    elif shift < 0:
        kind = "vanished" if suppression >= 0.9 else "attenuated"
    else:
        kind = "appeared" if emergence >= 0.9 else "amplified"
    return {
        "n11": n11,
        "n10": n10,
        "n01": n01,
        "n_documents": len(set(document[on_a | on_b])),
        "freq_base": n_a / len(a),
        "freq_variant": n_b / len(a),
        "log_ratio": np.log2((n_b + 0.5) / (n_a + 0.5)),
        "mean_base": a.mean(),
        "mean_variant": b.mean(),
        "shift": shift,
        "std_shift": divided(shift, np.sqrt((a.var() + b.var()) / 2)),
        "suppression": suppression,
        "emergence": emergence,
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


def encode(sae: SAE, residuals: np.ndarray) -> np.ndarray:
    """float32 [tokens, d_sae]: sae-lens's own dense codes."""
    with torch.inference_mode():
        return sae.encode(torch.from_numpy(np.ascontiguousarray(residuals))).numpy()


def decode(exact: SAE, codes: np.ndarray) -> np.ndarray:
    """float64 [tokens, d_model]: sae-lens's own decoder in float64."""
    with torch.inference_mode():
        return exact.decode(torch.from_numpy(codes).double()).numpy()


def unit_norms(exact: SAE) -> np.ndarray:
    """Norm of what one unit of each code adds to the reconstruction."""
    identity = np.eye(exact.cfg.d_sae)
    return np.linalg.norm(decode(exact, identity) - decode(exact, np.zeros((1, exact.cfg.d_sae))), axis=1)


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
