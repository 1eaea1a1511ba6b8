"""What a norm does: its scaling of each token, then its gain and bias."""

import torch
from torch import nn

EPSILON = ("eps", "variance_epsilon", "epsilon")


def gain_and_bias(norm: nn.Module, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """float32 [width] each: what a norm multiplies each direction by, apart from its per-token scale, and what it adds.

    A norm maps a vector of 1 and -1 in turn, whose mean is 0 and whose size is 1, to its gain with those signs, whether it is
    stored as the gain or as the gain less one (Gemma), and whether it centres or not; the bias is the same for its negative.
    """
    with torch.no_grad():
        if type(norm) is nn.LayerNorm and norm.weight is not None:  # those that derive from it may add 1 (Nemotron)
            bias = torch.zeros_like(norm.weight) if norm.bias is None else norm.bias
            return norm.weight.detach().float(), bias.detach().float()
        signs = _signs(norm, width)
        ahead, back = norm.forward(signs).float(), norm.forward(-signs).float()  # past its hooks, which may be who asks
        return (ahead - back) / 2 * signs, (ahead + back) / 2


def normalized(norm: nn.Module, activation: torch.Tensor) -> torch.Tensor:
    """What a norm scales each token of [..., width] to, before its gain, in the activation's dtype."""
    if getattr(norm, "weight", None) is None:
        return norm.forward(activation)  # it has no gain
    exact = activation.float()
    if centres(norm, activation.shape[-1]):
        exact = exact - exact.mean(-1, keepdim=True)
    epsilon = next((value for name in EPSILON if (value := getattr(norm, name, None)) is not None), 0.0)
    return (exact * torch.rsqrt(exact.square().mean(-1, keepdim=True) + epsilon)).to(activation.dtype)


def centres(norm: nn.Module, width: int) -> bool:
    """Whether it takes away a token's mean: of a constant nothing but its bias is then left."""
    signs = _signs(norm, width)
    if isinstance(norm, nn.LayerNorm) or signs.is_meta:
        return isinstance(norm, nn.LayerNorm)
    with torch.no_grad():
        ones, none, other = (norm.forward(of) for of in (torch.ones_like(signs), torch.zeros_like(signs), signs))
        return not bool((ones - none).abs().max() > 0.1 * other.abs().max())


def _signs(norm: nn.Module, width: int) -> torch.Tensor:
    weight = getattr(norm, "weight", None)
    signs = torch.ones(width) if weight is None else torch.ones_like(weight.detach())
    signs[1::2] = -1
    return signs
