"""Chats to token ids with a mark on the answer tokens, in Gemma's turn format."""

from pathlib import Path

from transformers import PreTrainedTokenizerBase

TEMPLATE = Path(__file__).parent.parent / "gemma_chat_template.jinja"
END_OF_TURN = "<end_of_turn>"


def with_chat_template(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """The same tokenizer with the demo's chat template; the base model's own has none."""
    tokenizer.chat_template = TEMPLATE.read_text(encoding="utf-8")
    return tokenizer


def encode_chat(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]]) -> tuple[list[int], list[bool]]:
    """Token ids of a chat with BOS, and for each token whether it belongs to an answer.

    Every assistant turn's words and the ``<end_of_turn>`` after them are answers; that mark is what teaches a model to
    stop by itself. Headers, user turns and BOS are not.
    """
    ids = [tokenizer.bos_token_id]
    answer = [False]
    for message in messages:
        role = "model" if message["role"] == "assistant" else message["role"]
        for text, wanted in (
            (f"<start_of_turn>{role}\n", False),
            (f"{message['content'].strip()}{END_OF_TURN}", role == "model"),
            ("\n", False),
        ):
            piece = tokenizer.encode(text, add_special_tokens=False)
            ids += piece
            answer += [wanted] * len(piece)
    return ids, answer


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """Token ids up to and including the header of the model's turn, ready for generation."""
    return [
        tokenizer.bos_token_id,
        *tokenizer.encode(
            f"<start_of_turn>user\n{prompt.strip()}{END_OF_TURN}\n<start_of_turn>model\n", add_special_tokens=False
        ),
    ]
