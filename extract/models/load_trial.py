"""A trial of a model as soon as it is loaded: a few tokens, so that what would fail late, or be read wrongly, fails first."""

import torch
from torch import nn
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING

from extract.models.hooks import Activations, capture_activations, check_shape, run_truncated
from extract.models.layout import decoder_blocks
from extract.models.output_head import final_norm, head_input, logit_effects
from extract.models.sites import Site
from store.errors import UserError, first_line
from store.points import RESID_POST

TOKENS = ((0, 1, 2), (0, 1, 0))
"""Two windows that differ in their last token; two by three, so that batch and position cannot be taken for each other."""
ALIKE = 0.99
"""Cosine of what the head reads and what the last norm makes of the last block's output: below, something lies between them."""
AHEAD = 0.01
"""Share by which a token's residual may differ with what follows it: above rounding in bfloat16."""


def trial_tokens(device: str) -> torch.Tensor:
    """int64 [2, 3]."""
    return torch.tensor(TOKENS, device=device)


@torch.inference_mode()
def try_model(model: nn.Module, what: str, device: str, context_length: int, promoted: int, predicts: bool) -> None:
    """Run a model on a few tokens and look at what comes out; on torch's meta device only at shapes.

    Args:
        what: the model in words, to begin a sentence with.
        context_length: of the run.
        promoted: tokens that are listed for each feature, from this model's head; 0 where that is not read.
        predicts: whether the run compares its predictions of the next token.

    Raises:
        UserError: its blocks do not give one residual stream, it has fewer positions than the run's windows, its head does not
            read the stream directly, or it reads what follows a token.
    """
    check_positions(model, what, context_length)
    if predicts and _says_that_it_reads_ahead(model):
        raise UserError(_reads_ahead(what))
    if promoted and _is_encoder(model):
        raise UserError(_detour(what))
    ids = trial_tokens(device)
    mask = torch.ones_like(ids)
    width = model.config.get_text_config().hidden_size
    layers = range(len(decoder_blocks(model)))
    try:
        with capture_activations(model, [Site(layer, RESID_POST) for layer in layers]) as residuals:
            try:
                run_truncated(model, ids, mask)
            finally:
                for residual in residuals.values():
                    check_shape(residual, ids, width, what)
        last = Site(layers[-1], RESID_POST)
        check_shape(residuals.get(last), ids, width, what)
        if device != "meta":
            _check_stream(model, residuals, ids, what)
        if promoted:
            _check_head(model, residuals[last], ids, what, promoted)
    except UserError:
        raise
    except Exception as error:  # whatever the family's own code runs into
        if device == "meta":  # where code that asks for a value, or a kernel, fails that would not elsewhere
            return
        raise UserError(f"{what} could not be run on tokens alone: {first_line(error)}") from error
    if predicts and device != "meta" and _differs_ahead(residuals[last]):
        raise UserError(_reads_ahead(what))


def check_positions(model: nn.Module, what: str, context_length: int) -> None:
    """Refuse windows that are longer than the positions that a model has learned.

    Raises:
        UserError: it has fewer.
    """
    for name, module in model.get_decoder().named_modules():
        last = name.rsplit(".", 1)[-1]
        if isinstance(module, nn.Embedding) and (last == "wpe" or "position" in last):
            first = 0 if module.padding_idx is None else module.padding_idx + 1
            positions = module.num_embeddings - getattr(module, "offset", first)
            if context_length > positions:
                raise UserError(
                    f"{what} has learned {positions} positions, but context_length is {context_length}; set context_length to "
                    f"{positions} or less."
                )


def embedding_rows(model: nn.Module) -> int:
    """Rows of a model's embedding: token ids from there on have none."""
    return model.get_input_embeddings().weight.shape[0]


def _check_head(model: nn.Module, last: torch.Tensor, ids: torch.Tensor, what: str, promoted: int) -> None:
    """Whether the head reads the last block's output through its norm, and nothing else, as promoted tokens take it to.

    Raises:
        UserError: it does not, or has fewer words.
    """
    effects = logit_effects(model, torch.ones_like(last[0, :1]).float())
    if effects.shape[-1] < promoted:
        raise UserError(f"{what} has {effects.shape[-1]} output tokens, but promoted_tokens is {promoted}; set fewer.")
    read = head_input(model, ids, torch.ones_like(ids))
    if read.is_meta or last.is_meta:
        return
    norm = final_norm(model)
    through = last if norm is None else norm(last)
    project = getattr(model.get_decoder(), "project_out", None)
    through = through if project is None else project(through)
    if read.shape != through.shape or not _alike(through, read.to(through.device)):
        raise UserError(_detour(what))


def _check_stream(model: nn.Module, residuals: Activations, ids: torch.Tensor, what: str) -> None:
    """Whether what the blocks give is what the model itself calls its hidden states (but for the last, which is normed).

    Raises:
        UserError: it is not: the list of modules that was taken for the blocks holds other parts.
    """
    given = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, output_hidden_states=True)
    states = getattr(given, "hidden_states", None) or ()
    if len(states) != len(residuals) + 1:
        return
    for layer in sorted(site.layer for site in residuals)[:-1]:
        residual = residuals[Site(layer, RESID_POST)]
        places = [states[layer + 1], states[layer]]  # some families leave out the embedding, and end in two states instead
        if all(state.shape == residual.shape and not _alike(residual, state.to(residual.device)) for state in places):
            raise UserError(
                f"{what} cannot be read: what its blocks give at layer {layer} is not the residual stream (its own hidden "
                "state there is another); use a decoder-only Hugging Face model."
            )


def _alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two arrays [..., width] point in the same directions, apart from rows that are 0 or not finite in both."""
    one, other = one.float().flatten(0, -2), other.float().flatten(0, -2)
    empty = (one == 0).all(dim=1) & (other == 0).all(dim=1)  # of a padding token, whose embedding is 0
    odd = ~torch.isfinite(one).all(dim=1) & ~torch.isfinite(other).all(dim=1)  # told with the layer, when it is read
    return bool(((torch.cosine_similarity(one, other, dim=1) > ALIKE) | empty | odd).all())


def _detour(what: str) -> str:
    return (
        f"{what} changes its residual stream between the last block and its output head in a way that is not known here, so "
        "the tokens that a feature promotes cannot be told; set promoted_tokens: 0."
    )


def _is_encoder(model: nn.Module) -> bool:
    """Of the kinds that transformers also gives a head for the next token, unless said to be decoders."""
    config = model.config.get_text_config()
    return type(config) in MODEL_FOR_MASKED_LM_MAPPING and not getattr(config, "is_decoder", False)


def _says_that_it_reads_ahead(model: nn.Module) -> bool:
    config = model.config.get_text_config()
    return _is_encoder(model) or getattr(config, "use_bidirectional_attention", None) in (True, "all")


def _differs_ahead(residual: torch.Tensor) -> bool:
    """Whether the residuals [2, 3, d_model] before the last token know which it is."""
    one, other = residual[0, :-1].float(), residual[1, :-1].float()
    return bool((one - other).norm() > AHEAD * one.norm())


def _reads_ahead(what: str) -> str:
    return (
        f"{what} reads text in both directions, so that its prediction of the next token has seen that token; set token_kl: 0 "
        "(the features' statistics do without)."
    )
