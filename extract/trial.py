"""A trial of a model as soon as it is loaded: a few tokens, so that what would fail late, or be read wrongly, fails first."""

import torch
from torch import nn
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING

from extract.checkpoints import asks_for_values
from extract.hooks import capture_residuals, check_shape, decoder_blocks, run_truncated
from extract.vocabulary import final_norm, head_input, logit_effects
from store.errors import UserError, first_line

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
    ids = trial_tokens(device)
    mask = torch.ones_like(ids)
    width = model.config.get_text_config().hidden_size
    layers = range(len(decoder_blocks(model)))
    try:
        with capture_residuals(model, layers) as residuals:
            run_truncated(model, ids, mask)
        for layer in layers:
            check_shape(residuals.get(layer), ids, width, what)
        if promoted:
            _check_head(model, residuals[layers[-1]], ids, what, promoted)
    except UserError:
        raise
    except Exception as error:  # whatever the family's own code runs into
        if device == "meta" and asks_for_values(error):
            return
        raise UserError(f"{what} could not be run on tokens alone: {first_line(error)}") from error
    if predicts and device != "meta" and _differs_ahead(residuals[layers[-1]]):
        raise UserError(_reads_ahead(what))


def check_positions(model: nn.Module, what: str, context_length: int) -> None:
    """Refuse windows that are longer than the positions that a model has learned.

    Raises:
        UserError: it has fewer.
    """
    for name, module in model.named_modules():
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
    read = head_input(model, ids)
    if read.is_meta or last.is_meta:
        return
    norm = final_norm(model)
    through = last if norm is None else norm(last)
    project = getattr(model.get_decoder(), "project_out", None)
    through = (through if project is None else project(through)).float().flatten(0, 1)
    read = read.to(through.device).float().flatten(0, 1)
    if read.shape == through.shape and not (torch.isfinite(read).all() and torch.isfinite(through).all()):
        return  # told with the layer, when it is read
    empty = (read == 0).all(dim=-1) & (through == 0).all(dim=-1)  # of a padding token, whose embedding is 0
    if read.shape != through.shape or not ((torch.cosine_similarity(through, read, dim=1) > ALIKE) | empty).all():
        raise UserError(
            f"{what} changes its residual stream between the last block and its output head in a way that is not known here, "
            "so the tokens that a feature promotes cannot be told; set promoted_tokens: 0."
        )


def _says_that_it_reads_ahead(model: nn.Module) -> bool:
    """Encoders that transformers also gives a head for the next token, unless they are said to be decoders."""
    config = model.config.get_text_config()
    encoder = type(config) in MODEL_FOR_MASKED_LM_MAPPING and not getattr(config, "is_decoder", False)
    return encoder or getattr(config, "use_bidirectional_attention", None) in (True, "all")


def _differs_ahead(residual: torch.Tensor) -> bool:
    """Whether the residuals [2, 3, d_model] before the last token know which it is."""
    one, other = residual[0, :-1].float(), residual[1, :-1].float()
    return bool((one - other).norm() > AHEAD * one.norm())


def _reads_ahead(what: str) -> str:
    return (
        f"{what} reads text in both directions, so that its prediction of the next token has seen that token; set token_kl: 0 "
        "(the features' statistics do without)."
    )
