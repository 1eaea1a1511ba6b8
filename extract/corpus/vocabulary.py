"""Token ids to text, and which output tokens a feature's decoder direction promotes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from extract.corpus.token_bytes import TokenBytes
from extract.saes.dictionary import Dictionary
from store import token_text

FEATURES_AT_ONCE = 128
NORMS = ("norm", "final_layernorm", "final_layer_norm", "ln_f")


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


def final_norm(model: PreTrainedModel) -> nn.Module | None:
    """The norm between the last block and the output head; None where a model has none, since its blocks end in one."""
    decoder = model.get_decoder()
    named = next((getattr(decoder, name) for name in NORMS if isinstance(getattr(decoder, name, None), nn.Module)), None)
    if named is None:
        after = list(decoder.children())
        blocks = [place for place, child in enumerate(after) if isinstance(child, nn.ModuleList)]
        norms = [child for child in after[blocks[-1] + 1 if blocks else 0 :] if "norm" in type(child).__name__.lower()]
        named = norms[-1] if norms else None
    return _of_the_base(named)


def final_gain(model: PreTrainedModel) -> torch.Tensor:
    """float32 [d_model]: what the model's last norm multiplies each direction by, apart from its per-token scale.

    A norm maps a vector of 1 and -1 in turn, whose mean is 0 and whose size is 1, to its gain with those signs, whether it is
    stored as the gain or as the gain less one (Gemma), and whether it centres or not; the bias is the same for its negative.
    """
    norm = final_norm(model)
    gain = getattr(norm, "weight", None)
    if gain is None:
        return torch.ones(model.config.get_text_config().hidden_size, device=model.device)
    if isinstance(norm, nn.LayerNorm):
        return gain.detach().float()
    with torch.inference_mode():
        signs = torch.ones_like(gain)
        signs[1::2] = -1
        return ((norm(signs) - norm(-signs)) / 2 * signs).float()


def head_input(model: nn.Module, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """[batch, position, width], what the output head reads."""
    with _capture_head_input(model) as captured, suppress(_StopAtHead):
        model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
    return captured.pop()


class _StopAtHead(Exception):
    """Raised when a forward pass comes to the output head, so that no logits are computed there."""


@contextmanager
def _capture_head_input(model: nn.Module) -> Iterator[list[torch.Tensor]]:
    """A list that a forward pass inside the context puts the head's input in, [batch, position, width], and ends there."""
    captured: list[torch.Tensor] = []

    def hook(_module: nn.Module, inputs: tuple) -> None:
        captured.append(inputs[0])
        raise _StopAtHead

    handle = model.get_output_embeddings().register_forward_pre_hook(hook)
    try:
        yield captured
    finally:
        handle.remove()


def logit_effects(model: PreTrainedModel, directions: torch.Tensor) -> torch.Tensor:
    """float32 [n, words]: what directions [n, d_model] in the residual stream add to the logits, past the norm's gain."""
    return _through(model, directions) @ _unembedding(model).T


def _through(model: PreTrainedModel, directions: torch.Tensor) -> torch.Tensor:
    """float32 [n, width of the head]: directions past the last norm's gain, and a projection where the head is narrower."""
    directions = directions * final_gain(model)
    project = getattr(model.get_decoder(), "project_out", None)
    return directions if project is None else directions @ _of_the_base(project).weight.detach().float().T


def _unembedding(model: PreTrainedModel) -> torch.Tensor:
    """float32 [words, width of the head]."""
    return _of_the_base(model.get_output_embeddings()).weight.detach().float()


def _of_the_base(module: nn.Module | None) -> nn.Module | None:
    """The base's own module where an adapter brought a copy of it or stands around it (PEFT)."""
    module = getattr(module, "original_module", module)
    return getattr(module, "base_layer", module)


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
    unembedding = _unembedding(model)
    unit = (dictionary.decoder / dictionary.decoder_norm.clamp_min(1e-12).unsqueeze(1)).float()
    directions = _through(model, unit)
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
