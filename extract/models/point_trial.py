"""A trial of a point of a model on a few tokens: whether what was found by the names of modules is what it is taken for, and
whether what is written there reaches the residual stream."""

import torch
from torch import nn

from extract.models.hooks import Activations, capture_activations, run_truncated
from extract.models.layout import decoder_blocks, places_in
from extract.models.norms import gain_and_bias
from extract.models.sites import Site
from store.errors import UserError
from store.points import (
    ATTN_OUT,
    ATTN_Z,
    EMBED,
    MLP_IN,
    MLP_IN_NORMALIZED,
    MLP_OUT,
    RESID_MID,
    RESID_POST,
    RESID_PRE,
    called,
)

ALIKE = 0.99
"""Cosine of what a sublayer adds by the residual stream, and of what its module gives: families may scale it (Granite)."""


MOST_ROUNDED = 0.05
"""Of a difference of two activations, that their dtype may round off: in bfloat16 tokens of huge norm are beyond it."""


@torch.inference_mode()
def try_point(model: nn.Module, site: Site, input_ids: torch.Tensor, what: str) -> None:
    """Read and write a point on a few tokens.

    Args:
        input_ids: [batch, position].
        what: the model in words, to begin a sentence with.

    Raises:
        UserError: what is read there is not what the point is, or what is written there changes nothing, or something else.
    """
    before = _read(model, site.layer, input_ids)
    at = before[site]
    if not all(bool(torch.isfinite(of).all()) for of in before.values()):
        raise UserError(
            f"{what} gives NaN or infinite activations at layer {site.layer} on a few tokens; check its weights, or use a "
            "wider dtype (float16 overflows on models with large residuals)."
        )
    step = 0.5 * at.float().norm(dim=-1).mean() / at.shape[-1] ** 0.5 * _signs(at.shape[-1], at.device)
    with site.edit(model, lambda activation: activation + step.to(activation)):
        after = _read(model, site.layer, input_ids)
    if not (_is_it(model, site, before) and _is_written(model, site, before, after, step)):
        raise UserError(
            f"{what} cannot be read at {site.point} ({called(site.point)}) of layer {site.layer}: what its modules give there "
            "is something else, by a trial on a few tokens; use a dictionary of another point."
        )


def kind_of_block(model: nn.Module, layer: int) -> tuple[str, ...]:
    """Blocks of one kind are made of the same modules, so that one of them stands for all."""
    block = decoder_blocks(model)[layer]
    return (type(block).__name__, *(f"{name} {type(module).__name__}" for name, module in block.named_children()))


def _read(model: nn.Module, layer: int, input_ids: torch.Tensor) -> Activations:
    """Everything that a block has."""
    points = places_in(decoder_blocks(model)[layer], model.config.get_text_config())
    sites = [Site(layer, point) for point in ([EMBED] if layer == 0 else []) + list(points)]
    with capture_activations(model, sites) as found:
        run_truncated(model, input_ids, torch.ones_like(input_ids))
    return found


def _is_it(model: nn.Module, site: Site, found: Activations) -> bool:
    """Whether sublayers add to the stream what they are said to, and norms give the MLP what it is said to read."""
    at = {site.point: activation.float() for site, activation in found.items()}
    begin, middle, end = at[RESID_PRE], at.get(RESID_MID), at[RESID_POST]
    rounding = _rounding(found[Site(site.layer, RESID_POST)])
    if site.point in (ATTN_OUT, RESID_MID, MLP_OUT):
        if middle is None:
            return {ATTN_OUT, MLP_OUT} <= at.keys() and _alike(end - begin, at[ATTN_OUT] + at[MLP_OUT], rounding)
        by_attention = ATTN_OUT in at and _alike(middle - begin, at[ATTN_OUT], _rounding(found[Site(site.layer, RESID_MID)]))
        by_mlp = _alike(end - middle, at[MLP_OUT], rounding)
        return {ATTN_OUT: by_attention, MLP_OUT: by_mlp, RESID_MID: by_attention or by_mlp}[site.point]
    if site.point == MLP_IN_NORMALIZED:
        gain, bias = gain_and_bias(site.module(model), at[site.point].shape[-1])
        return _alike(at[MLP_IN], at[site.point] * gain + bias)
    return True


def _is_written(model: nn.Module, site: Site, before: Activations, after: Activations, step: torch.Tensor) -> bool:
    """Whether a step at a point is there, leaves what comes before it, and reaches what comes after."""

    def moved(point: str) -> torch.Tensor:
        place = Site(site.layer, point)
        return after[place].float() - before[place].float()

    steps = step.expand_as(before[site])
    if not _alike(steps, moved(site.point), _rounding(before[site])):
        return False
    earlier = [place for place in before if place < site and not _same_module(model, place, site)]
    if not all(_alike(before[place].float(), after[place].float()) for place in earlier):
        return False
    if site.point == RESID_MID:
        rounding = _rounding(before[Site(site.layer, RESID_POST)])
        return _alike(steps, moved(RESID_POST) - moved(MLP_OUT) * _scale(before), rounding)
    reached = {ATTN_Z: ATTN_OUT, MLP_IN: MLP_OUT, MLP_IN_NORMALIZED: MLP_OUT}.get(site.point, RESID_POST)
    return bool(moved(reached).abs().max() > 0)


def _same_module(model: nn.Module, one: Site, other: Site) -> bool:
    """Whether two sites are read at the same module, where one sees what is written at the other."""
    return one.module(model) is other.module(model)


def _scale(found: Activations) -> float:
    """What a family multiplies what its MLP gives by before it is added."""
    at = {site.point: activation.float() for site, activation in found.items()}
    added = at[RESID_POST] - at[RESID_MID]
    return float((added * at[MLP_OUT]).sum() / at[MLP_OUT].square().sum().clamp_min(1e-30))


def _rounding(activation: torch.Tensor) -> torch.Tensor:
    """float32 [tokens]: the size of what its dtype rounds off an activation [batch, position, width]."""
    return activation.float().norm(dim=-1).flatten() * torch.finfo(activation.dtype).eps


def _alike(true: torch.Tensor, other: torch.Tensor, rounding: torch.Tensor | float = 0.0) -> bool:
    """Whether two arrays [batch, position, width] point the same way, apart from tokens where both are 0.

    Args:
        rounding: [tokens], of what ``true`` is a difference of: where that is a good part of it, nothing can be told.
    """
    true, other = true.flatten(0, -2), other.flatten(0, -2)
    empty = (true == 0).all(dim=1) & (other == 0).all(dim=1)
    lost = true.norm(dim=1) * MOST_ROUNDED < rounding
    return bool(((torch.cosine_similarity(true, other, dim=1) > ALIKE) | empty | lost).all())


def _signs(width: int, device: torch.device) -> torch.Tensor:
    """1 and -1, whose mean is not 0: no norm takes it away."""
    return torch.where(torch.arange(width, device=device) % 3 == 0, 1.0, -1.0)
