"""What kinds of dictionary of sae-lens are read, and why others are not."""

from collections.abc import Mapping
from typing import Any

from sae_lens.registry import SAE_CLASS_REGISTRY, SAE_TRAINING_CLASS_REGISTRY

from store.errors import UserError

ARCHITECTURES = ("standard", "gated", "topk", "jumprelu", "matching_pursuit")
"""SAEs: one place in, codes of at least 0, codes x W_dec + b_dec out, at the same place."""
SKIPPING = ("skip_transcoder", "jumprelu_skip_transcoder")
"""Transcoders that add the input times a matrix to what they write."""
TRANSCODERS = ("transcoder", "jumprelu_transcoder", *SKIPPING)
"""Those that write to another place than they read."""
WHY_NOT = {
    "temporal": "reads all tokens of a window at once",
    "abstopk": "has features that fire with either sign",
    "clt": "writes to other layers than it reads",
    "cross_layer": "writes to other layers than it reads",
    "crosscoder": "reads several layers or models at once",
}


def check_architecture(name: str, settings: Mapping[str, Any]) -> None:
    """Refuse an architecture that is not read, and say what it is.

    Raises:
        UserError: names it.
    """
    found = settings.get("architecture") or "standard"
    if found in ARCHITECTURES or found in TRANSCODERS:
        return
    if found in SAE_TRAINING_CLASS_REGISTRY and found not in SAE_CLASS_REGISTRY:
        raise UserError(
            f"The dictionary '{name}' is a training checkpoint (architecture {found}); load it with sae-lens' "
            "TrainingSAE.load_from_disk and save it with save_inference_model, then give that folder."
        )
    reason = next((reason for kind, reason in WHY_NOT.items() if kind in str(found)), "is not known")
    raise UserError(
        f"The dictionary '{name}' has the architecture '{found}', which {reason}; give one of "
        f"{', '.join((*ARCHITECTURES, *TRANSCODERS))}."
    )
