"""Token ids to text, and which output tokens a feature's decoder direction promotes."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from extract.dictionaries import Dictionary
from extract.token_bytes import TokenBytes
from store import token_text

FEATURES_AT_ONCE = 128


def token_texts(tokenizer: PreTrainedTokenizerBase, token_ids: Iterable[int]) -> list[str]:
    """The text of each token as ``vocabulary.token`` has it: see :mod:`store.token_text`.

    ``⟨id⟩`` of an id that the tokenizer lacks, as models with more rows than tokens promote.
    """
    return list(map(TokenTexts(tokenizer).read, token_ids))


class TokenTexts(dict[int, str]):
    """Token id -> text, of every id that was added."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__()
        self._bytes = TokenBytes(tokenizer)

    def add(self, token_ids: np.ndarray | Sequence[int]) -> None:
        """Read the texts of ids that are new; the shape does not matter."""
        self.update({token: self.read(token) for token in np.unique(token_ids).tolist() if token not in self})

    def read(self, token_id: int) -> str:
        """The text of a token."""
        raw = self._bytes.get(int(token_id))
        return f"⟨{token_id}⟩" if raw is None else token_text.written(raw)


def final_gain(model: PreTrainedModel) -> torch.Tensor:
    """float32 [d_model]: what the model's last norm multiplies each direction by, apart from its per-token scale.

    An RMSNorm maps a vector of ones to its gain, whether it is stored as the gain or as the gain less one (Gemma).
    """
    decoder = model.get_decoder()
    names = ("norm", "final_layernorm", "final_layer_norm", "ln_f")
    norm = next((getattr(decoder, name) for name in names if isinstance(getattr(decoder, name, None), nn.Module)), None)
    norm = _of_the_base(norm)
    if norm is None:
        return torch.ones(model.config.get_text_config().hidden_size, device=model.device)
    if isinstance(norm, nn.LayerNorm):
        return norm.weight.detach().float()
    with torch.inference_mode():
        return norm(torch.ones_like(norm.weight)).float()


def _of_the_base(module: nn.Module | None) -> nn.Module | None:
    """The base's own module where an adapter brought a copy of it (PEFT's modules_to_save)."""
    return getattr(module, "original_module", module)


@torch.inference_mode()
def promoted_tokens(
    model: PreTrainedModel, dictionary: Dictionary, k: int, progress: Callable[[int], None]
) -> dict[str, np.ndarray]:
    """The output tokens whose logits each feature's decoder direction raises and lowers most.

    The direct path only (nostalgebraist's logit lens): unit decoder direction x final norm's gain x unembedding.

    Returns:
        ``promoted``, ``suppressed``: int32 [d_sae, k] token ids, strongest first; ``promoted_logits`` and
        ``suppressed_logits``: float32 [d_sae, k], effect per unit of scaled activation before the norm's per-token scale;
        ``spread``: float32 [d_sae], standard deviation of that effect over the vocabulary.
    """
    unembedding = _of_the_base(model.get_output_embeddings()).weight.detach().float()
    unit = (dictionary.decoder / dictionary.decoder_norm.clamp_min(1e-12).unsqueeze(1)).float()
    directions = unit * final_gain(model)
    found: dict[str, list[np.ndarray]] = {
        name: [] for name in ("promoted", "promoted_logits", "suppressed", "suppressed_logits", "spread")
    }
    for some in directions.split(FEATURES_AT_ONCE):
        logits = some @ unembedding.T
        for name, largest in (("promoted", True), ("suppressed", False)):
            values, ids = logits.topk(k, dim=1, largest=largest)
            found[name].append(ids.int().cpu().numpy())
            found[f"{name}_logits"].append(values.cpu().numpy())
        found["spread"].append(logits.std(dim=1).cpu().numpy())
        progress(len(some))
    return {name: np.concatenate(pieces) for name, pieces in found.items()}
