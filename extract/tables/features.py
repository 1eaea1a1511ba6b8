"""The table features: norms and densities, the output tokens that each direction promotes, and an automatic label."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from extract.corpus.token_texts import TokenTexts
from extract.models.to_stream import TO_STREAM
from extract.saes.decoder_rows import neighbour_lists, promoted_tokens
from extract.saes.dictionary import Dictionary
from extract.tables.labels import SOURCE, Promoted, automatic_labels
from extract.tables.merged_sums import MergedSums


def write_features(merged: MergedSums, texts: TokenTexts, progress: Callable[[int], None]) -> None:
    """Write a row for every feature of every dictionary.

    Args:
        texts: gets the text of every token id that the table mentions.
        progress: called with the number of features done.
    """
    for dictionary in merged.context.dictionaries:
        columns: dict[str, Any] = {
            "layer": pa.repeat(dictionary.layer, dictionary.d_sae),
            "feature": np.arange(dictionary.d_sae),
            "decoder_norm": dictionary.decoder_norm.cpu().numpy(),
            "density": merged.densities(dictionary),
        }
        promoted = None
        if merged.context.config.promoted_tokens and dictionary.site.point in TO_STREAM:
            promoted = _promoted(merged, dictionary, texts, columns, progress)
        if merged.context.config.neighbours:
            nearest, cosines = neighbour_lists(dictionary, merged.context.config.neighbours)
            columns |= {"neighbours": pa.array(list(nearest)), "neighbour_cosines": pa.array(list(cosines))}
        evidence = merged.label_evidence(dictionary)
        columns["label"] = automatic_labels(evidence, texts, promoted)
        columns["label_source"] = pa.repeat(SOURCE, dictionary.d_sae)
        merged.writer.load("features", pa.table(columns))


def _promoted(
    merged: MergedSums, dictionary: Dictionary, texts: TokenTexts, columns: dict[str, Any], progress: Callable[[int], None]
) -> Promoted:
    """Add the columns of promoted and suppressed tokens; returns what the labels need of them."""
    context = merged.context
    found = promoted_tokens(context.models.base, dictionary, context.config.promoted_tokens, progress)
    spread = found.pop("spread")
    columns |= {name: pa.array(list(values)) for name, values in found.items()}
    texts.add(found["promoted"])
    texts.add(found["suppressed"])
    return Promoted(found["promoted"], found["promoted_logits"], spread)
