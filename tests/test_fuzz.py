"""Fuzzed files from elsewhere: whatever is in them, there is an answer or one sentence, never a traceback."""

import gzip
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extract.answers import read_answers
from extract.config import SourceConfig, load_config
from extract.label_files import import_labels
from extract.records import read_records
from extract.render import Renderer
from store import open_store, verify
from store.errors import UserError
from store.manifest import MANIFEST_FILE
from store.sidecar import Label, read_labels, read_reviews, read_steering, sidecar_path, write_labels
from tests.support.tiny_store import make_tiny_store

FUZZ = settings(
    deadline=None, max_examples=80, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
    | st.sampled_from(["~nobody/x", "/dev/null", "a" * 5000, "\0", "..", "pypi:", ".gguf", "text", "\ud83d"])
)  # fmt: skip
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)
DEEP = b"[" * 100_000


def sentence(action, *arguments) -> None:
    """It goes well, or ends in one line for the user."""
    try:
        action(*arguments)
    except UserError as error:
        assert str(error).strip() and "Traceback" not in str(error)


def fields(*names: str) -> st.SearchStrategy:
    """An object that has some of these names, with anything in them, and perhaps another."""
    return st.dictionaries(st.sampled_from(names) | st.text(max_size=5), JSON, max_size=6)


def as_bytes(value: object) -> bytes:
    return json.dumps(value).encode()


# ---- corpora ----

RECORD = fields("text", "prompt", "response", "messages", "domain", "source")
LINES = st.lists(RECORD.map(as_bytes) | JSON.map(as_bytes) | st.binary(max_size=40), max_size=5).map(b"\n".join)


def read_and_render(path: Path) -> None:
    """What ``check`` and ``run`` do with a corpus file, as far as its texts."""
    for record in read_records([SourceConfig(path=str(path), domain="x")]):
        Renderer(None).render(record)


@FUZZ
@given(LINES)
def test_jsonl(tmp_path, content):
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(content)
    sentence(read_and_render, path)


@FUZZ
@given(LINES.map(gzip.compress), st.integers(0, 60), st.booleans())
def test_gzipped_jsonl(tmp_path, content, cut, gzipped):
    """Cut short, or not gzip at all."""
    path = tmp_path / "corpus.jsonl.gz"
    path.write_bytes(content[: -cut or None] if gzipped else content[10:])
    sentence(read_and_render, path)


@pytest.mark.parametrize("content", [DEEP, b'{"text": ' + DEEP, b'{"text": ' + b"9" * 5000 + b"}", b"\xef\xbb\xbf{}"])
def test_jsonl_made_to_break_its_reader(tmp_path, content):
    """Nested without end; a number of 5,000 digits; a mark of byte order."""
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError, match="line 1"):
        read_and_render(path)
    with pytest.raises(UserError, match="line 1"):
        read_answers(path, ["base"])


@pytest.mark.parametrize("damage", [lambda c: c[:-9], lambda c: c[:20] + b"\xff" * 8 + c[28:]])
def test_a_damaged_gzip_is_named(tmp_path, damage):
    path = tmp_path / "corpus.jsonl.gz"
    path.write_bytes(damage(gzip.compress(b'{"text": "some words of a text"}\n' * 50)))
    with pytest.raises(UserError, match=r"corpus\.jsonl\.gz"):
        read_and_render(path)


# ---- configurations ----

NAMES = ("base", "variants", "saes", "corpus", "tokens", "controls", "chat_template", "answers", "device_map", "replicas")
SECTION = fields("adapter", "model", "planted", "task", "path", "release", "id", "dataset", "domain", "limit")
CONFIG = st.dictionaries(
    st.sampled_from(NAMES) | st.text(max_size=5),
    SCALARS | SECTION | st.lists(SECTION | SCALARS, max_size=3) | st.dictionaries(st.text(max_size=5), SECTION, max_size=3),
    max_size=8,
)


@FUZZ
@given(CONFIG.map(lambda value: yaml.safe_dump(value).encode("utf-8", "surrogatepass")) | st.binary(max_size=80))
def test_yaml(tmp_path, content):
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    sentence(load_config, path)


@pytest.mark.parametrize(
    "content",
    [DEEP, b"a: &a [*a]", b"base: &b {x: *b}", b"? [1, 2]\n: 3", b"1: 2", b"base: 2001-13-45", b"a: !!int x",
     b"&a [" + b"*a, " * 9 + b"]", b"base: !!binary zzz", b"tokens: " + b"9" * 6000, b"base: \x00", b"%YAML 9.9\n---\n"],
)  # fmt: skip
def test_yaml_made_to_break_its_reader(tmp_path, content):
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"run\.yaml"):
        load_config(path)


# ---- manifests ----


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return make_tiny_store(tmp_path_factory.mktemp("fuzz") / "store")


@pytest.fixture(scope="module")
def manifest(store) -> dict:
    """Without its checksum, so that what is in it comes to be read."""
    return {**json.loads((store / MANIFEST_FILE).read_text(encoding="utf-8")), "checksum": ""}


def look(store: Path) -> None:
    """What the app and the command line do first."""
    with open_store(store) as opened:
        opened.overview()
    verify(store)


@FUZZ
@given(data=st.data())
def test_manifest(store, manifest, data):
    """Any field, or a field of a field, replaced by anything, or left out."""
    name = data.draw(st.sampled_from(sorted(manifest)))
    value = data.draw(JSON)
    content = dict(manifest)
    if isinstance(content[name], dict) and content[name] and data.draw(st.booleans()):
        content[name] = {**content[name], data.draw(st.sampled_from(sorted(content[name]))): value}
    elif data.draw(st.booleans()):
        content[name] = value
    else:
        del content[name]
    (store / MANIFEST_FILE).write_bytes(as_bytes(content))
    sentence(look, store)


@FUZZ
@given(content=JSON.map(as_bytes) | st.binary(max_size=60))
def test_what_is_no_manifest(store, content):
    (store / MANIFEST_FILE).write_bytes(content)
    with pytest.raises(UserError):
        look(store)


def test_a_manifest_nested_without_end(store):
    (store / MANIFEST_FILE).write_bytes(DEEP)
    with pytest.raises(UserError):
        look(store)


# ---- labels, answers, sidecars ----


@FUZZ
@given(st.lists(st.lists(st.text(max_size=6) | st.integers(-1, 20).map(str), max_size=4).map(",".join), max_size=4))
def test_labels_as_csv(tiny_store, tmp_path, rows):
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(["layer,feature,label", *rows]), encoding="utf-8", errors="replace")
    sentence(import_labels, tiny_store, path)
    sidecar_path(tiny_store).unlink(missing_ok=True)


@FUZZ
@given(st.lists((fields("layer", "index", "description", "modelId") | JSON).map(as_bytes) | st.binary(max_size=30), max_size=3))
def test_labels_as_jsonl(tiny_store, tmp_path, lines):
    path = tmp_path / "labels.jsonl"
    path.write_bytes(b"\n".join(lines))
    sentence(import_labels, tiny_store, path)
    sidecar_path(tiny_store).unlink(missing_ok=True)


@FUZZ
@given(st.lists((fields("task", "prompt", "answers") | JSON).map(as_bytes) | st.binary(max_size=30), max_size=3))
def test_answers(tmp_path, lines):
    path = tmp_path / "answers.jsonl"
    path.write_bytes(b"\n".join(lines))
    sentence(read_answers, path, ["base", "sft"])


@settings(FUZZ, max_examples=80)
@given(st.integers(0, 30_000), st.integers(1, 255), st.booleans())
def test_a_damaged_sidecar(tmp_path, place, bits, cut):
    """A flipped byte, or the end is missing: what is read of it is rows or a sentence."""
    store = tmp_path / "store"
    path = sidecar_path(store)
    path.unlink(missing_ok=True)
    write_labels(store, "digest", [Label(5, feature, "a label", "me") for feature in range(300)])
    content = bytearray(path.read_bytes())
    place %= len(content)
    content[place] ^= bits
    path.write_bytes(content[:place] if cut else content)
    for read, *more in ((read_labels,), (read_steering,), (read_reviews, "maths")):
        sentence(read, store, "digest", *more)
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
