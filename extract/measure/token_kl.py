"""Token KL: where the prediction of the next token changed, on a sample of documents, and which features changed there.

A second pass over whole documents, in the same context windows as the run, all blocks this time. It is done in groups of about
a batch: one file of sums each, whose presence means "done". Logits exist for a chunk of positions at a time only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from extract import resumable as stamped
from extract.config import RunConfig
from extract.corpus.batches import Batch, Shard, make_shards
from extract.corpus.documents import Document
from extract.hashed_random import text_key
from extract.measure.run_context import RunContext
from extract.measure.sum_tables import KL, LOGPROB
from extract.models.model_set import ModelSet
from extract.models.predictions import Predictions, divergence, pieces
from extract.progress import progress_bar
from extract.saes.dictionary import Dictionary
from store.errors import UserError
from store.format.codes import Codes
from store.format.part_reading import read_codes, read_counted
from store.format.writer import StoreWriter
from store.names import BASE


@dataclass(frozen=True)
class Sample:
    """The prediction at every token of the sampled documents, in reading order.

    Attributes:
        document: int64 [n], number in the run, ascending.
        position: int64 [n], the token after which is predicted.
        logprob: model -> float64 [n], log-probability of the token that follows in its window, nats; NaN at a window's end.
        kl: variant -> float64 [n], KL(p_a || p_b), nats.
    """

    document: np.ndarray
    position: np.ndarray
    logprob: Mapping[str, np.ndarray]
    kl: Mapping[str, np.ndarray]

    def of_shard(self, shard: Shard) -> tuple[np.ndarray, slice]:
        """(rows in the shard of the sampled tokens that it holds, their places in the sample)."""
        ends = [shard.first_document, shard.first_document + len(shard.documents)]
        inside = slice(*np.searchsorted(self.document, ends))
        return shard.first_rows[self.document[inside] - shard.first_document] + self.position[inside], inside


def write_token_kl(context: RunContext, shards: Sequence[Shard], writer: StoreWriter) -> None:
    """Compare the predictions on ``token_kl`` tokens and fill the tables token_kl and feature_kl; 0 tokens: nothing.

    Args:
        shards: every shard of the run, each done.

    Raises:
        UserError: a model's predictions are not finite, or cannot be computed here.
        OSError: the disk is full.
    """
    if not context.config.token_kl:
        return
    documents = [document for shard in shards for document in shard.documents]
    numbers = np.array(choose_documents(documents, context.config.token_kl))
    groups = make_shards([documents[number] for number in numbers], context.config.batch_tokens)
    _predict(context, groups, writer)
    sample = _read_sample(context, groups, numbers, writer)
    _write_tokens(sample, writer)
    with progress_bar(len(context.dictionaries) * len(shards), "feature KL", "step") as steps:
        for dictionary in context.dictionaries:
            _write_features(context, dictionary, shards, sample, writer, steps)


def check_predictions(config: RunConfig, one_at_a_time: bool) -> None:
    """Refuse what would load every model anew for each batch.

    Raises:
        UserError: predictions are to be compared, and the models are not in memory together.
    """
    as_many = config.twins <= 1  # contributions load one of each at most
    for name in ("token_kl", *["contributions"] * as_many):
        if getattr(config, name) and one_at_a_time:
            raise UserError(
                f"{name} compares the predictions of all models at once, but they are in memory one at a time; set {name}: 0, "
                "or twins: 0, where those of full checkpoints take the memory, or models_in_memory: all where they fit after "
                "all."
            )


def choose_documents(documents: Sequence[Document], n_tokens: int) -> list[int]:
    """TokenIndex, ascending, of whole documents with about ``n_tokens`` tokens together, evenly over the domains.

    Always the domain with the fewest tokens so far gives its next document, in the order of a hash of the source, until
    there are enough; a domain that runs out leaves its share to the others. Neither shards nor batches matter.
    """
    queues: dict[str, list[int]] = {}
    # An order of its own, so that the sample is not the pilot's documents, which are the first by the hash of the source.
    order = [text_key("token_kl", document.source) for document in documents]
    for place in sorted(range(len(documents)), key=order.__getitem__, reverse=True):
        queues.setdefault(documents[place].domain, []).append(place)
    filled = dict.fromkeys(queues, 0)
    chosen: list[int] = []
    while queues and sum(filled.values()) < n_tokens:
        domain = min(queues, key=lambda name: (filled[name], name))
        chosen.append(queues[domain].pop())
        filled[domain] += len(documents[chosen[-1]])
        if not queues[domain]:
            del queues[domain]
    return sorted(chosen)


def _path(writer: StoreWriter, group: Shard) -> Path:
    return writer.work / f"kl-{group.index:05d}.npz"


def _predict(context: RunContext, groups: Sequence[Shard], writer: StoreWriter) -> None:
    """Leave one file for each group that has none yet."""
    missing = [group for group in groups if stamped.read_stamp(_path(writer, group)) != context.seal]
    with progress_bar(sum(group.n_tokens for group in groups), "predicting", "token") as tokens:
        tokens.update(sum(group.n_tokens for group in groups) - sum(group.n_tokens for group in missing))
        for group in missing:
            arrays: dict[str, np.ndarray] = {}
            for batch in context.batches(group):
                rows, found = _compare(context.models, batch)
                for key, values in found.items():
                    arrays.setdefault(key, np.empty(group.n_tokens))[rows] = values
                tokens.update(len(rows))
            stamped.save(_path(writer, group), arrays, context.seal)


@torch.inference_mode()
def _compare(models: ModelSet, batch: Batch) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """One batch through every model.

    Returns:
        (rows int64 [n] of its document tokens, array of the group's file -> float64 [n]).

    Raises:
        UserError: a prediction is not finite.
    """
    input_ids = torch.from_numpy(batch.input_ids).to(models.device)
    mask = torch.from_numpy(batch.attention_mask).to(models.device)
    kept = torch.from_numpy(batch.rows >= 0).to(models.device)
    following = torch.full_like(input_ids, -1)
    following[:, :-1] = torch.where(kept[:, 1:], input_ids[:, 1:], -1)
    following = following[kept]
    predictions = {name: Predictions(models, name, input_ids, mask, kept) for name in models.names}
    words = models.shared_words(models.names)
    chunks: dict[str, list[torch.Tensor]] = {}
    for chunk in pieces(len(following), words):
        base = predictions[BASE].log_probabilities(chunk, words)
        chunks.setdefault(LOGPROB.key("logprob", BASE), []).append(_pick(base, following[chunk]))
        for name in models.names[1:]:
            variant = predictions[name].log_probabilities(chunk, words)
            chunks.setdefault(LOGPROB.key("logprob", name), []).append(_pick(variant, following[chunk]))
            chunks.setdefault(KL.key("kl", name), []).append(divergence(base, variant))
    found = {key: torch.cat(values).cpu().numpy() for key, values in chunks.items()}
    for name in models.names[1:]:
        if not np.isfinite(found[KL.key("kl", name)]).all():
            raise UserError(
                f"The predictions of the base and of '{name}' give a KL that is NaN or infinite; check their weights, use a "
                "wider dtype, or set token_kl: 0."
            )
    return batch.rows[batch.rows >= 0], found


def _pick(log_probabilities: torch.Tensor, following: torch.Tensor) -> torch.Tensor:
    """float64 [positions]: the log-probability of each position's next token, NaN where there is none (-1)."""
    picked = log_probabilities.gather(1, following.clamp_min(0)[:, None])[:, 0].double()
    return picked.masked_fill(following < 0, torch.nan)


def _read_sample(context: RunContext, groups: Sequence[Shard], numbers: np.ndarray, writer: StoreWriter) -> Sample:
    pieces: dict[str, list[np.ndarray]] = {}
    for group in groups:
        with np.load(_path(writer, group)) as arrays:
            for key in set(arrays) - {stamped.STAMP}:
                pieces.setdefault(key, []).append(arrays[key])
    names = context.models.names
    return Sample(
        np.concatenate([numbers[group.first_document + group.document_of_row] for group in groups]),
        np.concatenate([group.position_of_row for group in groups]),
        {name: np.concatenate(pieces[LOGPROB.key("logprob", name)]) for name in names},
        {name: np.concatenate(pieces[KL.key("kl", name)]) for name in names[1:]},
    )


def _write_tokens(sample: Sample, writer: StoreWriter) -> None:
    """The table token_kl."""
    for variant, kl in sample.kl.items():
        rows = {
            "variant": variant,
            "document": sample.document,
            "position": sample.position,
            "kl": kl,
            "base_logprob": sample.logprob[BASE],
            "variant_logprob": sample.logprob[variant],
        }
        writer.load("token_kl", pd.DataFrame(rows))


def _write_features(
    context: RunContext, dictionary: Dictionary, shards: Sequence[Shard], sample: Sample, writer: StoreWriter, steps: tqdm
) -> None:
    """The table feature_kl of one layer, from the codes kept in the parts."""
    layer = dictionary.layer
    norms = dictionary.decoder_norm.cpu().numpy()
    of_features = {variant: np.zeros((3, dictionary.d_sae)) for variant in sample.kl}  # tokens, |b - a|, |b - a| kl
    of_tokens = dict.fromkeys(sample.kl, 0.0)
    n_counted = 0
    for shard in shards:
        rows, inside = sample.of_shard(shard)
        steps.update(1)
        if not len(rows):
            continue
        part = writer.part_path(shard.index)
        counted = read_counted(part, layer)[rows]
        n_counted += int(counted.sum())
        sampled = np.zeros(shard.n_tokens, dtype=bool)
        sampled[rows] = counted
        base = read_codes(part, layer, BASE)
        for variant, kl in sample.kl.items():
            of_tokens[variant] += float(kl[inside][counted].sum())
            kl_of_row = np.zeros(shard.n_tokens)
            kl_of_row[rows] = kl[inside]
            row, feature, change = changes(base, read_codes(part, layer, variant), norms, sampled)
            for number, weights in enumerate((None, change, change * kl_of_row[row])):
                of_features[variant][number] += np.bincount(feature, weights, minlength=dictionary.d_sae)
    for variant, (n_tokens, weight, weighted) in of_features.items():
        changed = np.flatnonzero(n_tokens)
        where_changed = weighted[changed] / weight[changed]
        mean = of_tokens[variant] / n_counted if n_counted else 0.0
        rows = {
            "variant": variant,
            "layer": layer,
            "feature": changed,
            "n_tokens": n_tokens[changed].astype(np.int64),
            "kl_where_changed": where_changed,
            "kl_ratio": where_changed / mean if mean else np.nan,
        }
        writer.load("feature_kl", pd.DataFrame(rows))


def changes(base: Codes, variant: Codes, norms: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the scaled codes of one layer differ, on some token rows.

    Args:
        norms: float64 [d_sae] of the decoder's rows.
        rows: bool [n_tokens], which token rows are asked for.

    Returns:
        (row int64 [n], feature int64 [n], |b - a| float64 [n], above 0).
    """
    keys, values = [], []
    for codes, sign in ((base, -1.0), (variant, 1.0)):
        row = codes.rows
        asked = rows[row]
        keys.append(row[asked] * len(norms) + codes.index[asked])
        values.append(sign * codes.value[asked] * norms[codes.index[asked]])
    key, place = np.unique(np.concatenate(keys), return_inverse=True)
    change = np.abs(np.bincount(place, np.concatenate(values), minlength=len(key)))
    differs = change > 0
    return key[differs] // len(norms), key[differs] % len(norms), change[differs]
