"""Where in a model an activation is read, edited, and resumed from: a point of a layer.

An activation is read by a hook, not from ``output_hidden_states``, whose last entry has already passed the final norm.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from extract.models.layout import ATTENTION, OUT_PROJECTION, Layout, Place, decoder_blocks, places_in
from extract.models.listeners import HOOKS, at_output, first_argument, together
from store.errors import UserError
from store.points import (
    ADDED,
    ATTN_OUT,
    ATTN_Z,
    EMBED,
    MLP_IN,
    MLP_IN_NORMALIZED,
    MLP_OUT,
    POINTS,
    RESID_MID,
    RESID_POST,
    RESID_PRE,
)

ORDER = list(POINTS)
TRANSFORMER_LENS = {
    r"hook_embed": EMBED,
    r"blocks\.(\d+)\.hook_resid_pre": RESID_PRE,
    r"blocks\.(\d+)\.hook_in": RESID_PRE,
    r"blocks\.(\d+)\.(?:hook_resid_mid|hook_mlp_in)": RESID_MID,
    r"blocks\.(\d+)\.(?:hook_resid_post|hook_out)": RESID_POST,
    r"blocks\.(\d+)\.attn\.hook_z": ATTN_Z,
    r"blocks\.(\d+)\.hook_attn_out": ATTN_OUT,
    r"blocks\.(\d+)\.ln2\.hook_normalized": MLP_IN_NORMALIZED,
    r"blocks\.(\d+)\.mlp\.hook_in": MLP_IN,
    r"blocks\.(\d+)\.hook_mlp_out": MLP_OUT,
}
"""Names of TransformerLens (a regular expression, whose group is the layer) -> point. Its hook_mlp_in is before the norm."""
OF_MODULES = re.compile(r"blocks\.(\d+)\.(attn|mlp)\.hook_out")
"""What a sublayer's module gives, before a norm that may follow."""
HUGGING_FACE = re.compile(r"(?:\w+\.)*?(?:layers|h|blocks)\.(\d+)(?:\.(?!hook_)([\w.]+?))??(?:\.(input|output))?")
"""A module in a block, as sae-lens writes it to hf_hook_name."""
USUAL = {
    Place("", "output"): RESID_POST,
    Place("", "input"): RESID_PRE,
    **{Place(f"{attention}.{out}", "input"): ATTN_Z for attention in ATTENTION for out in OUT_PROJECTION},
    **{Place(attention, "output"): ATTN_OUT for attention in ATTENTION},
    Place("post_self_attn_layernorm", "output"): ATTN_OUT,
    Place("pre_feedforward_layernorm", "output"): MLP_IN,
    Place("ln_2", "output"): MLP_IN,
    Place("mlp", "input"): MLP_IN,
    Place("mlp", "output"): MLP_OUT,
    Place("post_feedforward_layernorm", "output"): MLP_OUT,
    Place("post_mlp_layernorm", "output"): MLP_OUT,
}  # fmt: skip
"""What a module means where the architecture is not known."""


@dataclass(frozen=True)
class Beside:
    """What else is needed to go on from an activation.

    Attributes:
        stream: the residual stream [batch, position, d_model] that the block of the activation begins with; None of resid_post,
            which is all of it, and in the first block.
        others: what a block gives beside the stream (:func:`apart`).
    """

    stream: torch.Tensor | None
    others: tuple | None


@dataclass(frozen=True)
class Site:
    """A point of a layer; a run, and a store, has one point, so that there the layer names it.

    Attributes:
        layer: number of the decoder block.
        point: of :data:`store.points.POINTS`.
    """

    layer: int
    point: str

    def __lt__(self, other: "Site") -> bool:
        """Whether it is computed before another."""
        return (self.layer, ORDER.index(self.point)) < (other.layer, ORDER.index(other.point))

    @classmethod
    def of_hook(cls, hook_name: str, layout: Layout | None = None) -> "Site":
        """What a dictionary's hook name means, in Hugging Face's or in TransformerLens' words.

        Args:
            layout: of the model that it is read on, which says what a module of Hugging Face's is there.

        Raises:
            UserError: it means no point that is read here.
        """
        for pattern, point in TRANSFORMER_LENS.items():
            if match := re.fullmatch(pattern, hook_name):
                return cls(int(match[1]) if match.groups() else 0, point)
        if match := OF_MODULES.fullmatch(hook_name):
            layer, point = int(match[1]), ATTN_OUT if match[2] == "attn" else MLP_OUT
            places = layout.blocks[layer] if layout is not None and layer < len(layout.blocks) else {}
            if point not in places or not places[point].is_norm:
                return cls(layer, point)
        elif match := HUGGING_FACE.fullmatch(hook_name):
            layer, place = int(match[1]), Place.called(match[2] or "", match[3])
            is_known = layout is not None and layer < len(layout.blocks)  # a layer too deep is refused where it is asked for
            point = layout.point_at(layer, place) if is_known else USUAL.get(place)
            if point is not None:
                return cls(layer, point)
        raise UserError(
            f"The dictionary's hook '{hook_name}' is no point that is read here; use a dictionary of {', '.join(POINTS)}."
        )

    def _place(self, model: nn.Module) -> tuple[nn.Module, Place]:
        """The block, and where in it."""
        blocks = decoder_blocks(model)
        if not 0 <= self.layer < len(blocks):
            raise UserError(f"The model has layers 0 to {len(blocks) - 1}, so layer {self.layer} cannot be read.")
        block = blocks[self.layer]
        if self.point == EMBED and self.layer == 0:
            return block, Place("", "input")
        places = places_in(block, model.config.get_text_config())
        if self.point not in places:
            raise UserError(f"The model has no {self.point} at layer {self.layer}; it has {', '.join(places)}.")
        return block, places[self.point]

    def module(self, model: nn.Module) -> nn.Module:
        """The module at whose input or output the activation is.

        Raises:
            UserError: the model has no such layer or point, or no decoder blocks.
        """
        if self.point == EMBED and _has_positions(model):
            narrow = getattr(model.get_decoder(), "project_in", None)  # OPT-350m's are narrower than its stream
            return model.get_input_embeddings() if narrow is None else narrow
        block, place = self._place(model)
        return block.get_submodule(place.module)

    def listen(self, model: nn.Module, on: Callable[[torch.Tensor], torch.Tensor | None]) -> list[RemovableHandle]:
        """Call a function with the activation of every forward pass, [batch, position, width]; what it gives takes its place.

        Hooks run in the order in which they were set: one that is set later reads, or edits, what this one leaves.

        Args:
            on: gives the same shape and dtype, or None to leave it.

        Returns:
            Handles; the hooks stay until they are removed.

        Raises:
            UserError: the model has no such layer or point, or no decoder blocks.
        """
        if self.point == EMBED and _has_positions(model):
            return [self.module(model).register_forward_hook(at_output(on))]
        block, place = self._place(model)  # once: every batch of every model asks for it
        if not place.module:
            return [HOOKS[place.side](block, on)]
        rows: list[torch.Size] = []

        def note(_module: nn.Module, arguments: tuple, options: dict) -> None:
            rows[:] = [first_argument(arguments, options).shape[:2]]

        def in_rows(activation: torch.Tensor) -> torch.Tensor | None:
            """Some families fold batch and position into one for their MLP."""
            is_flat = isinstance(activation, torch.Tensor) and activation.ndim == 2 and len(activation) == rows[0].numel()
            found = on(activation.reshape(*rows[0], -1) if is_flat else activation)
            return found.reshape(activation.shape) if is_flat and found is not None else found

        module = block.get_submodule(place.module)
        return [block.register_forward_pre_hook(note, with_kwargs=True), HOOKS[place.side](module, in_rows)]

    @contextmanager
    def edit(self, model: nn.Module, change: Callable[..., torch.Tensor], beside: "Site | None" = None) -> Iterator[None]:
        """Replace the activation during forward passes inside the context.

        Args:
            change: [batch, position, width] in the model's dtype -> the same shape and dtype; where ``beside`` is given it is
                called with that site's activation of the same pass too.
            beside: a site before this one.
        """
        seen: list[torch.Tensor] = []

        def see(activation: torch.Tensor) -> None:
            seen[:] = [activation]

        handles = [] if beside is None else beside.listen(model, see)

        def changed(activation: torch.Tensor) -> torch.Tensor:
            found = change(activation, *seen)
            return found.clone() if self.point in ADDED else found  # some families add to it in place (Falcon)

        handles += self.listen(model, changed)
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @property
    def carrier(self) -> int:
        """The last block that need not run where the activation is given; below 0 all have to."""
        return self.layer if self.point == RESID_POST else self.layer - 1

    @contextmanager
    def resume(self, model: nn.Module, activation: torch.Tensor, beside: Beside) -> Iterator[None]:
        """Forward passes inside the context take the activation as given, and compute only what comes after it.

        Args:
            activation: [batch, position, width] in the model's dtype.
            beside: of the pass that it is from (:class:`extract.models.hooks.Activations`).
        """
        stream = activation if self.point == RESID_POST else beside.stream
        with ExitStack() as stack:
            if self.carrier >= 0 and getattr(model.config.get_text_config(), "num_kv_shared_layers", 0):
                # Blocks above read keys and values of blocks below (Gemma 3n and 4), which therefore run.
                stack.enter_context(Site(self.carrier, RESID_POST).edit(model, lambda _activation: stream))
            elif self.carrier >= 0:
                stack.enter_context(_skipped(list(decoder_blocks(model))[: self.carrier + 1], stream, beside.others))
            if self.point != RESID_POST:
                stack.enter_context(self.edit(model, lambda _activation: activation))
            yield


@contextmanager
def _skipped(modules: list[nn.Module], stream: torch.Tensor, others: tuple | None) -> Iterator[None]:
    """Modules that give what is given, instead of computing it."""

    def given(*_inputs: Any, **_options: Any) -> Any:
        return together(stream, others)

    own = [module.__dict__.get("forward") for module in modules]  # accelerate puts one there
    try:
        for module in modules:
            module.forward = given
        yield
    finally:
        for module, forward in zip(modules, own, strict=True):
            if forward is None:
                del module.forward
            else:
                module.forward = forward


@dataclass(frozen=True)
class PlantedChange:
    """A change of the base that is ready to be made.

    Attributes:
        site: where.
        of: (activation [batch, position, width], input_ids [batch, position], what ``reads`` has there) -> the changed one, of
            the same shape and dtype.
        reads: where what it depends on is read, of the same layer and before it; the site itself but of a transcoder.
    """

    site: Site
    of: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
    reads: Site

    @contextmanager
    def made(self, model: nn.Module, input_ids: torch.Tensor) -> Iterator[None]:
        """Forward passes on ``input_ids`` inside the context are of the changed model."""
        if self.reads == self.site:
            edit = self.site.edit(model, lambda activation: self.of(activation, input_ids, activation))
        else:
            edit = self.site.edit(model, lambda activation, seen: self.of(activation, input_ids, seen), self.reads)
        with edit:
            yield


def _has_positions(model: nn.Module) -> bool:
    """Whether positions are added to the embeddings, so that the stream does not begin with these alone."""
    last = [name.rsplit(".", 1)[-1] for name, _ in model.get_decoder().named_modules() if not re.search(r"\.\d+\.", name)]
    return any(name == "wpe" or "position" in name for name in last)
