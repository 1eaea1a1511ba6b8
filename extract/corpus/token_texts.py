"""Token ids to text."""

from collections.abc import Iterable, Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase

from extract.corpus.token_bytes import TokenBytes
from store import token_text


def token_texts(tokenizer: PreTrainedTokenizerBase, token_ids: Iterable[int]) -> list[str]:
    """The text of each token as ``vocabulary.token`` has it: see :mod:`store.token_text`.

    ``⟨id⟩`` of an id that the tokenizer lacks, as models with more rows than tokens promote.
    """
    return list(map(TokenTexts(tokenizer).read, token_ids))


class TokenTexts(dict[int, str]):
    """Token id -> text, of every id that was added."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__()
        self._bytes = TokenBytes(tokenizer)

    def add(self, token_ids: np.ndarray | Sequence[int]) -> None:
        """Read the texts of ids that are new; the shape does not matter."""
        self.update({token: self.read(token) for token in np.unique(token_ids).tolist() if token not in self})

    def read(self, token_id: int) -> str:
        """The text of a token."""
        raw = self._bytes.get(int(token_id))
        return f"⟨{token_id}⟩" if raw is None else token_text.written(raw)
