"""Texts of tokens in every family of tokenizers: what they are alone, and that together they read as the text does."""

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import LlamaTokenizerFast, PreTrainedTokenizerFast

from extract.corpus.token_texts import token_texts
from store.token_text import in_place

TEXT = "naïve 你好 😀 the dog's <0xE2> é開"
ALPHABET = pre_tokenizers.ByteLevel.alphabet()
BYTES = {f"<0x{byte:02X}>": 3 + byte for byte in range(256)}


def fast(tokenizer, trainer, text=TEXT, **special):
    tokenizer.train_from_iterator([text] * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def byte_level(**options):
    tokenizer = Tokenizer(models.BPE(**options))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=ALPHABET, show_progress=False, **options)
    return fast(tokenizer, trainer, "the dog walks a dog's")


def in_a_sequence():
    """As Llama 3 and Qwen have it, with a normaliser; and a decoder that says nothing of bytes."""
    tokenizer = byte_level()
    backend = tokenizer.backend_tokenizer
    backend.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(" ", "isolated")
    backend.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    backend.decoder = decoders.Fuse()
    return tokenizer


def byte_fallback():
    """As Llama 2 and Gemma: what is not in the vocabulary goes by byte tokens."""
    words = {"▁": 259, "t": 260, "h": 261, "e": 262, "th": 263, "the": 264, "▁the": 265}
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2, **BYTES, **words}
    merges = [("t", "h"), ("th", "e"), ("▁", "the")]
    return LlamaTokenizerFast(vocab=vocabulary, merges=merges, add_bos_token=False, legacy=False)


def unigram():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    letters = sorted({*TEXT.replace(" ", "▁")})
    return fast(tokenizer, trainers.UnigramTrainer(initial_alphabet=letters, unk_token="<unk>", show_progress=False))


def word_piece():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(initial_alphabet=sorted({*TEXT}), special_tokens=["[UNK]"], show_progress=False)
    return fast(tokenizer, trainer, unk_token="[UNK]")


def word_ends():
    """As GPT-1: the end of a word is marked, not its beginning."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.WhitespaceSplit(), decoders.BPEDecoder()
    options = {"end_of_word_suffix": "</w>", "special_tokens": ["<unk>"], "show_progress": False}
    return fast(tokenizer, trainers.BpeTrainer(initial_alphabet=sorted({*TEXT}), **options), unk_token="<unk>")


FAMILIES = {
    "byte-level": (byte_level, TEXT),
    "byte-level in a sequence": (in_a_sequence, TEXT),
    "byte-level with word ends": (lambda: byte_level(end_of_word_suffix="</w>"), None),
    "byte fallback": (byte_fallback, f" {TEXT}"),
    "Unigram": (unigram, f" {TEXT}"),
    "WordPiece": (word_piece, " naïve你好 😀 the dog ' s < 0xE2 > é開"),
    "word ends": (word_ends, f"{TEXT} "),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_together_they_read_as_the_text_does(family):
    make, expected = FAMILIES[family]
    tokenizer = make()
    if expected is None:  # a word's last byte with its mark may be unknown: the words of the training text
        text, expected = "the dog walks a", "the  dog  walks  a "  # a byte-level space before the word, and the mark after it
    else:
        text = TEXT
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert "".join(in_place(token_texts(tokenizer, ids))) == expected


@pytest.mark.parametrize("make", [byte_level, byte_fallback])
def test_a_part_of_a_character_is_marked_byte_by_byte(make):
    tokenizer = make()
    ids = tokenizer.encode("é", add_special_tokens=False)
    assert token_texts(tokenizer, ids)[-2:] == ["<0xC3>", "<0xA9>"]


def test_the_letters_of_the_byte_alphabet_are_bytes():
    """GPT-2's 'é' is the byte 0xE9, its 'Ġ' a space, its 'Ċ' a line's end."""
    tokenizer = byte_level()
    assert token_texts(tokenizer, tokenizer.convert_tokens_to_ids(["é", "Ġ", "Ċ", "Ġdog"])) == ["<0xE9>", " ", "\n", " dog"]


def test_whole_characters_are_text_and_what_is_beside_them_is_bytes():
    tokenizer = byte_level()
    tokenizer.backend_tokenizer.model = models.BPE({"ä½łå¥": 0, "Ãī": 1, "ï¿½": 2, "a": 3}, [])
    assert token_texts(tokenizer, [0, 1, 2]) == ["你<0xE5><0xA5>", "É", "\ufffd"]


def test_added_tokens_are_the_text_that_was_added():
    """'naïve' consists of letters of the byte alphabet alone, and is no bytes; nor is a name that looks like one."""
    tokenizer = byte_level()
    tokenizer.add_tokens(["naïve", "  ", " 你"])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<0xE2>", "<|é|>"]})
    text = "a naïve  dog 你<0xE2><|é|>"
    ids = tokenizer.encode(text, add_special_tokens=False)
    texts = token_texts(tokenizer, ids)
    assert "".join(in_place(texts)) == text
    assert {"naïve", "  ", " 你", "<0x3C>0xE2>", "<|é|>"} <= set(texts)


def test_a_name_that_looks_like_a_byte_is_one_only_where_the_tokenizer_means_it():
    assert token_texts(byte_fallback(), [BYTES["<0xE2>"], BYTES["<0x41>"]]) == ["<0xE2>", "A"]
    words = Tokenizer(models.WordLevel({"a": 0, "<0xE2>": 1}, unk_token="a"))
    assert token_texts(PreTrainedTokenizerFast(tokenizer_object=words), [1]) == [" <0x3C>0xE2>"]


def test_an_id_without_a_token_says_so():
    """The rows of a padded vocabulary, which a feature may promote; once shown as the word 'None'."""
    assert token_texts(byte_level(), [100_000]) == ["⟨100000⟩"]
