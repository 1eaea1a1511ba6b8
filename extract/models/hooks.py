"""One forward pass of a model: its activations at some sites, by hooks that live in a context manager and always leave."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import torch
from torch import nn

from extract.models.layout import decoder_blocks
from extract.models.listeners import apart
from extract.models.sites import Beside, Site
from store.errors import UserError
from store.points import ADDED, RESID_POST


class _StopForward(Exception):
    """Raised by the hook of the last site needed, so that nothing above it is computed."""


class Activations(dict[Site, torch.Tensor]):
    """site -> the activation there, [batch, position, width] in the model's dtype.

    Attributes:
        beside: site -> what else is needed to go on from there.
    """

    def __init__(self, *given) -> None:
        super().__init__(*given)
        self.beside: dict[Site, Beside] = {}


@contextmanager
def capture_activations(model: nn.Module, sites: Sequence[Site], detached: bool = True) -> Iterator[Activations]:
    """Capture what a model has at sites during forward passes inside the context.

    Yields a dictionary that each :func:`run_truncated` or :func:`run_with_graph` refills.

    Args:
        detached: whether no gradient goes through what is captured.

    Raises:
        UserError: a layer or a point that the model does not have.
    """
    captured, carried = Activations(), {}
    missing = set(sites)

    def carry(block: int):
        def hook(_module: nn.Module, _inputs: tuple, output) -> None:
            carried[block] = apart(output)

        return hook

    def keep(site: Site):
        def on(activation: torch.Tensor) -> None:
            if isinstance(activation, torch.Tensor):
                activation = activation.detach() if detached else activation
                # Some families add to it in place (Falcon).
                activation = activation.clone() if site.point in ADDED else activation
            captured[site] = activation
            stream, others = carried.get(site.carrier, (None, None))
            captured.beside[site] = Beside(None if site.point == RESID_POST else stream, others)
            missing.discard(site)
            if not missing:
                raise _StopForward

        return on

    blocks = decoder_blocks(model)
    handles = [model.register_forward_pre_hook(lambda *_given: missing.update(sites))]
    try:
        for block in sorted({site.carrier for site in sites if 0 <= site.carrier < len(blocks)}):
            handles.append(blocks[block].register_forward_hook(carry(block)))
        for site in sites:
            handles += site.listen(model, keep(site))
        yield captured
    finally:
        for handle in handles:
            handle.remove()


@torch.inference_mode()
def run_truncated(model: nn.Module, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> None:
    """One forward pass that ends after the last captured site; no logits are computed.

    Args:
        input_ids: [batch, position] token ids, padded on the right.
        attention_mask: [batch, position], 1 where a token is real.
    """
    run_with_graph(model, input_ids, attention_mask)


def run_with_graph(model: nn.Module, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> None:
    """The same, as the context has it: with a graph where gradients are enabled."""
    with suppress(_StopForward):
        model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)


def check_shape(activation: torch.Tensor | None, input_ids: torch.Tensor, width: int, what: str) -> None:
    """Refuse what is not one activation a token.

    Args:
        activation: what the model gave; None where that did not run.
        input_ids: [batch, position].
        what: the model in words, to begin a sentence with.

    Raises:
        UserError: it is not [batch, position, width].
    """
    wanted = [*input_ids.shape, width]
    got = f"arrays of the shape {list(activation.shape)}" if isinstance(activation, torch.Tensor) else "no array"
    if not isinstance(activation, torch.Tensor) or list(activation.shape) != wanted:
        raise UserError(
            f"{what} cannot be read: its blocks give {got} where a residual stream of {wanted} (batch, position, d_model) is "
            "expected; use a model whose blocks give that."
        )
