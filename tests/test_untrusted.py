"""Files from strangers: nothing in them is run, no path leads out of a store, and no text becomes markup."""

import json
import os
import pickle
import shutil
from html.parser import HTMLParser
from pathlib import Path

import duckdb
import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from app import answer_cards, tokens, words
from extract.__main__ import main
from store import open_store, parts, text, verify
from store.errors import UserError
from store.findings import findings
from store.manifest import DATABASE_FILE
from tests.support.forged import rewrite_manifest
from tests.support.world import make_checkpoint

PART = parts.part_file(0)


# ---- weights and code ----


class Bomb:
    """A pickle that runs a command when it is loaded."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self):
        return os.system, (f"touch '{self.sentinel}'",)


def refused(world, folder: Path, capsys, *expected: str, **changes) -> None:
    """Both commands end in one sentence, or in a clean check; the run does with code 2."""
    sentinel = folder / "executed"
    config = world.config(folder, tokens=300, **changes)
    main(["check", str(config)])
    assert not sentinel.exists()
    assert main(["run", str(config), "--out", str(folder / "store")]) == 2
    assert not sentinel.exists() and not (folder / "store").exists()
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    for piece in expected:
        assert piece in error


def pickled_model(world, folder: Path) -> Path:
    """The base with its weights as a pickle that runs a command."""
    model = Path(shutil.copytree(world.base, folder / "pickled"))
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(folder / "executed")))
    return model


def test_the_bomb_does_go_off(tmp_path):
    """Else the tests below would show nothing."""
    pickle.loads(pickle.dumps(Bomb(tmp_path / "executed")))
    assert (tmp_path / "executed").exists()


def test_pickled_weights_of_a_base(world, tmp_path, capsys):
    refused(world, tmp_path, capsys, "pickled", "safetensors", base=str(pickled_model(world, tmp_path)))


def test_pickled_weights_of_a_checkpoint(world, tmp_path, capsys):
    refused(world, tmp_path, capsys, "safetensors", variants={"sft": {"model": str(pickled_model(world, tmp_path))}})


def test_pickled_weights_of_an_adapter(world, tmp_path, capsys):
    adapter = Path(shutil.copytree(world.adapter, tmp_path / "adapter"))
    (adapter / "adapter_model.safetensors").unlink()
    (adapter / "adapter_model.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "executed")))
    refused(world, tmp_path, capsys, "'sft'", variants={"sft": {"adapter": str(adapter)}})


def test_pickled_weights_of_a_dictionary(world, tmp_path, capsys):
    sae = Path(shutil.copytree(world.saes[1], tmp_path / "sae"))
    (sae / "sae_weights.safetensors").unlink()
    for name in ("sae_weights.pt", "sae_weights.safetensors"):
        (sae / name).write_bytes(pickle.dumps(Bomb(tmp_path / "executed")))
    refused(world, tmp_path, capsys, "sae", "could not be loaded", saes=[{"path": str(sae)}])


def model_with_code(base: Path, folder: Path, sentinel: Path, model_type: str) -> Path:
    """A model folder whose configuration, model and tokenizer ask for code of its own."""
    model = Path(shutil.copytree(base, folder / "own_code"))
    code = f"import pathlib\npathlib.Path({str(sentinel)!r}).touch()\n"
    for name in ("configuration_evil.py", "modeling_evil.py", "tokenization_evil.py"):
        (model / name).write_text(code + "class Evil: pass\n")
    settings = json.loads((model / "config.json").read_text())
    settings["auto_map"] = {
        "AutoConfig": "configuration_evil.Evil", "AutoModelForCausalLM": "modeling_evil.Evil",
    }  # fmt: skip
    settings["model_type"] = model_type
    (model / "config.json").write_text(json.dumps(settings))
    tokenizer = json.loads((model / "tokenizer_config.json").read_text())
    tokenizer["auto_map"] = {"AutoTokenizer": [None, "tokenization_evil.Evil"]}
    (model / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    return model


def test_code_in_a_model_of_unknown_kind(world, tmp_path, capsys):
    """It cannot be loaded without that code, so it is not."""
    model = model_with_code(world.base, tmp_path, tmp_path / "executed", "evil")
    refused(world, tmp_path, capsys, "own_code", base=str(model))


def test_code_in_a_model_of_known_kind(world, tmp_path):
    """The library's own classes read it; the code beside it is left alone."""
    model = model_with_code(world.base, tmp_path, tmp_path / "executed", "gemma3_text")
    config = world.config(tmp_path, tokens=300, base=str(model))
    assert main(["run", str(config), "--out", str(tmp_path / "store")]) == 0
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "attack",
    ["!!python/object/apply:os.system ['touch {0}']", "!!python/object/new:subprocess.Popen [[touch, {0}]]",
     "!!python/name:os.system", "!!python/module:os"],
)  # fmt: skip
def test_yaml_tags(tmp_path, capsys, attack):
    path = tmp_path / "run.yaml"
    path.write_text(f"base: {attack.format(tmp_path / 'executed')}\n")
    assert main(["check", str(path)]) == 2
    assert "is not valid YAML" in capsys.readouterr().err and not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "attack",
    ["{{ cycler.__init__.__globals__.os.system('touch {0}') }}",
     "{{ ''.__class__.__mro__[1].__subclasses__() }}{% for m in messages %}{{ m['content'] }}{% endfor %}",
     "{{ self.__init__.__globals__.__builtins__.open('{0}', 'w') }}", "{% include '/etc/passwd' %}"],
)  # fmt: skip
def test_a_chat_template_stays_in_its_sandbox(world, tmp_path, capsys, attack):
    template = tmp_path / "template.jinja"
    template.write_text(attack.replace("{0}", str(tmp_path / "executed")))
    refused(world, tmp_path, capsys, "chat template", chat_template=str(template))


# ---- stores ----


@pytest.fixture
def own(tiny_store, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_store, tmp_path / "store"))


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "latents/../../secret.h5", f"{PART}/../x", "x"])
def test_a_manifest_cannot_name_other_files(own, name):
    rewrite_manifest(own, files={name: {"sha256": "0", "bytes": 1}})
    for action in (open_store, verify):
        with pytest.raises(UserError, match="does not belong to a store"):
            action(own)


@pytest.mark.parametrize("name", [PART, DATABASE_FILE])
def test_a_link_out_of_a_store_is_refused(own, tmp_path, name):
    """The file elsewhere is the very same, so that only its place is wrong."""
    outside = tmp_path / "outside"
    (own / name).rename(outside)
    (own / name).symlink_to(outside)
    for action in (open_store, verify):
        with pytest.raises(UserError, match="link to another place"):
            action(own)


def test_a_store_may_itself_be_a_link(own, tmp_path):
    """People keep large stores on other disks."""
    (tmp_path / "link").symlink_to(own)
    assert verify(tmp_path / "link") == []


def foreign(tmp_path: Path) -> Path:
    """Another file of the reader's, with numbers that are nobody's business."""
    path = tmp_path / "private.h5"
    with h5py.File(path, "w") as file:
        file["secret"] = np.arange(3, dtype=np.uint16)
    (tmp_path / "private.bin").write_bytes(np.arange(3, dtype=np.uint16).tobytes())
    return path


def external_link(file: h5py.File, place: str, private: Path) -> None:
    file[place] = h5py.ExternalLink(str(private), "/secret")


def soft_link_over_external(file: h5py.File, place: str, private: Path) -> None:
    file["inner"] = h5py.ExternalLink(str(private), "/secret")
    file[place] = h5py.SoftLink("/inner")


def external_storage(file: h5py.File, place: str, private: Path) -> None:
    file.create_dataset(place, (3,), np.uint16, external=[(str(private.with_suffix(".bin")), 0, 6)])


def virtual(file: h5py.File, place: str, private: Path) -> None:
    layout = h5py.VirtualLayout((3,), np.uint16)
    layout[:] = h5py.VirtualSource(str(private), "secret", (3,))
    file.create_virtual_dataset(place, layout)


@pytest.mark.parametrize("attack", [external_link, soft_link_over_external, external_storage, virtual])
@pytest.mark.parametrize("column", ["by_token/index", "by_feature/row"])
def test_a_part_cannot_take_numbers_from_other_files(own, tmp_path, attack, column):
    with h5py.File(own / PART, "a") as file:
        place = f"layer_12/codes/maths/{column}"
        del file[place]
        attack(file, place, foreign(tmp_path))
    rewrite_manifest(own)
    with open_store(own) as store, pytest.raises(UserError, match="do not trust this copy"):
        store.codes(0, 12, "maths") if "token" in column else store.activations(12, 1, "maths")


def test_a_part_whose_whole_layer_is_elsewhere(own, tmp_path):
    shutil.copy(own / PART, tmp_path / "private.h5")
    with h5py.File(own / PART, "a") as file:
        del file["layer_12"]
        file["layer_12"] = h5py.ExternalLink(str(tmp_path / "private.h5"), "/layer_12")
    rewrite_manifest(own)
    with open_store(own) as store, pytest.raises(UserError, match="do not trust this copy"):
        store.codes(0, 12, "maths")


@pytest.mark.parametrize("source", ["read_csv('{0}')", "read_text('{0}')", "read_blob('{0}')", "'{0}'"])
def test_a_view_in_a_database_cannot_read_files(own, tmp_path, source):
    """In place of a table; whoever asks gets DuckDB's refusal instead of the file."""
    secret = tmp_path / "secret.csv"
    secret.write_text("document,source,domain\n1,hush,x\n")
    with duckdb.connect(str(own / DATABASE_FILE)) as connection:
        connection.execute("DROP TABLE vocabulary")
        connection.execute(f"CREATE VIEW vocabulary AS SELECT * FROM {source.format(secret)}")
    rewrite_manifest(own)
    with pytest.raises((duckdb.Error, UserError)) as refusal, open_store(own) as store:
        store.sql("SELECT * FROM vocabulary")
    assert "hush" not in str(refusal.value)


# ---- texts ----

HOSTILE = (
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "\" onmouseover=\"alert(1)", "'><svg/onload=alert(1)>",
    "&lt;b&gt;", "</span></div><h1>mine</h1>", "javascript:alert(1)", "\u202eevil\u202c", "\x00\x1b[31m", "]](http://evil)",
)  # fmt: skip
TEXTS = st.text(max_size=30) | st.sampled_from(HOSTILE)


class Tags(HTMLParser):
    """What a browser would make of it: the elements, their attributes' names, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.text += data


@settings(deadline=None, max_examples=300, derandomize=True)
@given(TEXTS)
def test_visible_text_is_text(given_text):
    """No element but the marks', and every printable character is there as it was."""
    for page in (text.visible(given_text), text.lines(given_text)):
        found = Tags(page)
        assert found.elements <= {"span", "br"} and found.attributes <= {"class"}
        printable = [c for c in given_text if c.isprintable() and c not in text.VISIBLE]
        rest = iter(found.text)
        assert all(character in rest for character in printable)


@settings(deadline=None, max_examples=150, derandomize=True)
@given(st.lists(TEXTS, min_size=1, max_size=4), TEXTS)
def test_a_window_of_tokens_is_text(given_tokens, name):
    """Titles, which hold tokens too, stay titles."""
    values = [1.0] * len(given_tokens)
    found = Tags(tokens.window(given_tokens, values, values, 0, 1.0, (name, "sft")))
    assert found.elements <= {"div", "span"} and found.attributes <= {"class", "style", "title", "aria-hidden"}


@settings(deadline=None, max_examples=150, derandomize=True)
@given(TEXTS.filter(str.strip), TEXTS, TEXTS)
def test_answers_are_text(prompt, base, variant):
    rows = pd.DataFrame({"task": "x", "prompt": 0, "text": prompt, "model": ["base", "sft"], "answer": [base, variant]})
    page = answer_cards.cards(rows, ["base", "sft"])
    plain = answer_cards.cards(rows.assign(text="a", answer="b"), ["base", "sft"])
    known, found = Tags(plain), Tags(page)
    assert found.elements <= known.elements | {"span", "mark", "br", "i"} and found.attributes <= known.attributes | {"class"}


@settings(deadline=None, max_examples=300, derandomize=True)
@given(TEXTS)
def test_plain_words_have_no_markdown(given_text):
    """Every mark that Markdown, Streamlit's colours, icons or formulas know stands behind a backslash."""
    escaped = words.plain(given_text)
    assert "\n" not in escaped
    bare = escaped.replace("\\\\", "")
    assert all(bare[place - 1] == "\\" for place, c in enumerate(bare) if c in "`*_{}[]()<>#+-!|~$:" and place > 0)
    assert not bare or bare[0] not in "`*_{}[]()<>#+-!|~$:"
    assert escaped.replace("\\", "").split() == "".join(c for c in given_text if c != "\\").replace("\\", "").split()


def test_the_page_of_findings_has_no_markup_of_the_stores(tiny_store):
    """Markdown with a hostile label in it: nothing that a reader would take for an element."""
    with open_store(tiny_store) as store:
        assert "<script" not in findings(store) and "<img" not in findings(store)


def test_torch_files_are_not_read_at_all(world, tmp_path):
    """Of a model there are only safetensors: with both, the pickle is left alone."""
    both = make_checkpoint(tmp_path / "both", world.base, lambda _model: None)
    (both / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "executed")))
    config = world.config(tmp_path, tokens=300, variants={"sft": {"model": str(both)}})
    assert main(["run", str(config), "--out", str(tmp_path / "store")]) == 0
    assert not (tmp_path / "executed").exists() and torch.get_num_threads() >= 1
