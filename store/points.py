"""Points of a decoder block at which a dictionary reads, and writes; a store has one, which every page and table is about."""

from collections.abc import Mapping
from typing import Any

EMBED = "embed"
RESID_PRE, RESID_MID, RESID_POST = "resid_pre", "resid_mid", "resid_post"
ATTN_Z, ATTN_OUT = "attn_z", "attn_out"
MLP_IN_NORMALIZED, MLP_IN, MLP_OUT = "mlp_in_normalized", "mlp_in", "mlp_out"

POINTS = {
    EMBED: "the tokens' embeddings",
    RESID_PRE: "the residual stream before a block",
    ATTN_Z: "what each attention head gives, side by side, before the output projection",
    ATTN_OUT: "what attention adds to the residual stream",
    RESID_MID: "the residual stream between attention and MLP",
    MLP_IN_NORMALIZED: "what the MLP reads, before its norm's gain",
    MLP_IN: "what the MLP reads",
    MLP_OUT: "what the MLP adds to the residual stream",
    RESID_POST: "the residual stream after a block",
}
"""Point -> what it is, in the order in which a block computes them."""
SUBJECTS = {
    EMBED: "the embedding",
    ATTN_Z: "the output of the attention heads",
    ATTN_OUT: "the attention's output",
    MLP_IN_NORMALIZED: "the MLP's input",
    MLP_IN: "the MLP's input",
    MLP_OUT: "the MLP's output",
}
"""Point -> what a sentence calls what is there, where that is not the residual stream."""
STREAM = (EMBED, RESID_PRE, RESID_MID, RESID_POST)
"""Those that are the residual stream itself, so that all that was made below passes through them."""
ADDED = (ATTN_OUT, MLP_OUT)
"""Those that are added to it as they are."""


def called(point: str) -> str:
    """A point in words."""
    return POINTS[point]


def subject(point: str) -> str:
    """What a sentence calls what is at a point, one thing of each model: "the residual stream"."""
    return SUBJECTS.get(point, "the residual stream")


def point_of(sae: Mapping[str, Any]) -> str:
    """Where a dictionary writes, by its facts in the manifest: what all numbers of its layer are of."""
    return sae.get("point", RESID_POST)


def reads_of(sae: Mapping[str, Any]) -> str:
    """Where a dictionary reads: a transcoder elsewhere than it writes."""
    return sae.get("reads", point_of(sae))


def where_of(saes: Mapping[str, Mapping[str, Any]]) -> str:
    """Where the dictionaries of a store read and write, for people: of transcoders both points. All are of the same."""
    sae = next(iter(saes.values()), {})
    return " to ".join(dict.fromkeys((reads_of(sae), point_of(sae))))
