"""What a dictionary's decoder rows are near to: output tokens, each other, another dictionary's rows."""

from collections.abc import Callable

import numpy as np
import torch
from transformers import PreTrainedModel

from extract.models.output_head import through_norm, unembedding
from extract.models.to_stream import to_stream
from extract.saes.dictionary import Dictionary
from store.metrics.thresholds import SAME_DIRECTION

FEATURES_AT_ONCE = 128
ROWS_AT_ONCE = 1024


@torch.inference_mode()
def promoted_tokens(
    model: PreTrainedModel, dictionary: Dictionary, k: int, progress: Callable[[int], None]
) -> dict[str, np.ndarray]:
    """The output tokens whose logits each feature's decoder direction raises and lowers most.

    The direct path only (nostalgebraist's logit lens): unit decoder direction x final norm's gain x unembedding; of attn_z
    through the output projection first.

    Returns:
        ``promoted``, ``suppressed``: int32 [d_sae, k] token ids, strongest first; ``promoted_logits`` and
        ``suppressed_logits``: float32 [d_sae, k], effect per unit of scaled activation before the norm's per-token scale;
        ``spread``: float32 [d_sae], standard deviation of that effect over the vocabulary.
    """
    of_words = unembedding(model)
    unit = (dictionary.decoder / dictionary.decoder_norm.clamp_min(1e-12).unsqueeze(1)).float()
    directions = through_norm(model, to_stream(model, dictionary.layer, dictionary.site.point, unit))
    found: dict[str, list[np.ndarray]] = {
        name: [] for name in ("promoted", "promoted_logits", "suppressed", "suppressed_logits", "spread")
    }
    for some in directions.split(FEATURES_AT_ONCE):
        logits = some @ of_words.T
        for name, largest in (("promoted", True), ("suppressed", False)):
            values, ids = logits.topk(k, dim=1, largest=largest)
            found[name].append(ids.int().cpu().numpy())
            found[f"{name}_logits"].append(values.cpu().numpy())
        found["spread"].append(logits.std(dim=1).cpu().numpy())
        progress(len(some))
    return {name: np.concatenate(pieces) for name, pieces in found.items()}


def neighbour_lists(dictionary: Dictionary, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k features with the nearest decoder rows of each feature: (features, cosines), [d_sae, k], nearest first."""
    unit = dictionary.unit_decoder.float()
    k = min(k, len(unit) - 1)
    features, cosines = [], []
    for start in range(0, len(unit), ROWS_AT_ONCE):
        similarity = unit[start : start + ROWS_AT_ONCE] @ unit.T
        own = torch.arange(len(similarity))
        similarity[own, own + start] = -2.0
        top = similarity.topk(k, dim=1)
        features.append(top.indices.cpu().numpy())
        cosines.append(top.values.cpu().numpy())
    return np.concatenate(features), np.concatenate(cosines)


def close_pairs(dictionary: Dictionary, features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(feature, other, cosine) of the decoder pairs beyond SAME_DIRECTION, nearest first for each feature."""
    unit = dictionary.unit_decoder
    pairs: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = [(np.zeros(0, int), np.zeros(0, int), np.zeros(0))]
    for start in range(0, len(features), ROWS_AT_ONCE):
        chosen = features[start : start + ROWS_AT_ONCE]
        similarity = (unit[torch.from_numpy(chosen).to(unit.device)] @ unit.T).cpu().numpy()
        similarity[np.arange(len(chosen)), chosen] = -2.0
        row, other = np.nonzero(similarity > SAME_DIRECTION)
        cosine = similarity[row, other]
        order = np.lexsort((other, -cosine, row))
        pairs.append((chosen[row[order]], other[order], cosine[order]))
    return tuple(np.concatenate(column) for column in zip(*pairs, strict=True))


def nearest_rows(rows: torch.Tensor, others: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """For each of ``rows`` [n, d_model] the nearest of ``others`` [m, d_model], all of unit length: (place, cosine)."""
    best = [(part @ others.T).max(dim=1) for part in rows.split(ROWS_AT_ONCE)]
    return (
        torch.cat([found.indices for found in best]).cpu().numpy(),
        torch.cat([found.values for found in best]).cpu().numpy(),
    )
