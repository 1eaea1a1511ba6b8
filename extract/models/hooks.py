"""One forward pass of a model: its activations at some sites, by hooks that live in a context manager and always leave."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import torch
from torch import nn

from extract.models.sites import Site, apart
from store.errors import UserError


class _StopForward(Exception):
    """Raised by the hook of the last site needed, so that nothing above it is computed."""


class Residuals(dict[int, torch.Tensor]):
    """layer -> the activation at its site, [batch, position, d_model] in the model's dtype.

    Attributes:
        beside: what the modules there give beside it (:func:`extract.models.sites.apart`).
    """

    beside: tuple | None = None


@contextmanager
def capture_residuals(model: nn.Module, sites: Sequence[Site], detached: bool = True) -> Iterator[Residuals]:
    """Capture what a model has at sites, all of one point, during forward passes inside the context.

    Yields a dictionary that each :func:`run_truncated` or :func:`run_with_graph` refills.

    Args:
        detached: whether no gradient goes through what is captured.

    Raises:
        UserError: a layer that the model does not have.
    """
    residuals = Residuals()
    last = max(site.layer for site in sites)

    def hook_for(layer: int):
        def hook(_module: nn.Module, _inputs: tuple, output) -> None:
            residual, residuals.beside = apart(output)
            residuals[layer] = residual.detach() if detached and isinstance(residual, torch.Tensor) else residual
            if layer == last:
                raise _StopForward

        return hook

    modules = {site.layer: site.module(model) for site in sites}
    handles = [module.register_forward_hook(hook_for(layer)) for layer, module in modules.items()]
    try:
        yield residuals
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


def check_shape(residual: torch.Tensor | None, input_ids: torch.Tensor, d_model: int, what: str) -> None:
    """Refuse what is not one residual stream.

    Args:
        residual: what a block gave; None where it did not run.
        input_ids: [batch, position].
        what: the model in words, to begin a sentence with.

    Raises:
        UserError: it is not [batch, position, d_model].
    """
    wanted = [*input_ids.shape, d_model]
    got = f"arrays of the shape {list(residual.shape)}" if isinstance(residual, torch.Tensor) else "no array"
    if not isinstance(residual, torch.Tensor) or list(residual.shape) != wanted:
        raise UserError(
            f"{what} cannot be read: its blocks give {got} where a residual stream of {wanted} (batch, position, d_model) is "
            "expected; use a model whose blocks give that."
        )
