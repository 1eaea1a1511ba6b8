"""A store that another took the place of: nothing of the old one is read, shown, kept or filed as the new one's."""

import shutil

import duckdb
import pytest

from app import data
from extract.__main__ import main
from store import open_store, verify
from store.errors import Replaced, UserError
from store.exchange.publish import publish
from store.format.codes import part_file
from store.format.manifest import DATABASE_FILE, MANIFEST_FILE, read_manifest
from store.sandbox import run as sandbox
from store.sidecar.entries import Label, read_reviews, write_labels
from tests.support import pages
from tests.support.replaced import WAYS, linked, make_pair, overwritten, removed_and_copied

SOURCES = "SELECT source FROM documents ORDER BY document"
OLD, NEW = ["sum-1", "sum-2", "refusal-1"], ["add-1", "add-2", "decline-1"]
OLD_CODES, NEW_CODES = [3.0, 1.0, 4.0, 1.0], [1.0, 4.0, 1.0, 3.0]
PART = part_file(0)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return make_pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture
def place(pair, tmp_path):
    """Where the old store lies now, as its only copy."""
    return shutil.copytree(pair[0], tmp_path / "store")


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def replace(request, pair, place):
    """replace() puts the new store there; a link to the folder is a link from the beginning."""
    if request.param is linked:
        linked(pair[0], place)
    return lambda: request.param(pair[1], place)


def sources(store):
    return store.sql(SOURCES)["source"].tolist()


def codes(store):
    return store.activations(12, 0, "maths")["value"].tolist()


def text(app):
    found = [str(element.value) for kind in (app.markdown, app.caption, app.error, app.dataframe) for element in kind]
    return "\n".join(found).replace("\\", "")


# ---- notebooks and commands ----


def test_a_notebook_reads_the_new_one_while_the_old_one_is_still_held(replace, place):
    old = open_store(place)
    assert (sources(old), codes(old)) == (OLD, OLD_CODES)
    cursor = old.cursor()
    replace()
    with open_store(place) as new:
        assert (sources(new), codes(new)) == (NEW, NEW_CODES)
    del cursor


def test_the_old_one_says_that_it_was_replaced_and_mixes_nothing(replace, place):
    with open_store(place) as old:
        replace()
        for ask in (sources, codes, lambda store: store.codes(0, 12, "maths"), lambda store: store.layer_metrics("maths")):
            with pytest.raises(Replaced, match=r"was changed or replaced after it was opened.*open it again"):
                ask(old)


def test_verify_looks_at_the_new_one(replace, place):
    with open_store(place) as old:
        assert verify(place) == [] and sources(old) == OLD
        replace()
        assert verify(place) == []


def test_commands_in_the_same_process_read_the_new_one(replace, place, capsys):
    with open_store(place):
        assert main(["info", str(place)]) == 0
        before = read_manifest(place).digest[:16]
        replace()
        assert main(["info", str(place)]) == 0
    after = read_manifest(place).digest[:16]
    said = capsys.readouterr().out
    assert before != after and said.index(before) < said.index(after)


def test_new_times_or_places_of_the_same_bytes_are_no_replacement(place, tmp_path):
    with open_store(place) as store:
        for name in (MANIFEST_FILE, DATABASE_FILE, PART):
            (place / name).chmod(0o600)  # changes ctime, as a backup's link does
            (tmp_path / "link").hardlink_to(place / name)
            (tmp_path / "link").unlink()
        moved = shutil.copytree(place, tmp_path / "copy")
        shutil.rmtree(place)
        moved.rename(place)
        assert (sources(store), codes(store)) == (OLD, OLD_CODES)


@pytest.mark.parametrize("name", [MANIFEST_FILE, DATABASE_FILE, PART])
def test_one_file_of_the_new_store_among_those_of_the_old(pair, place, name):
    """As at one moment of a copy: of each file the sizes are the same, only the bytes say that they do not belong together."""
    with open_store(place) as old:
        shutil.copy2(pair[1] / name, place / name)
        with pytest.raises(Replaced):
            codes(old)
    if name == PART:
        assert "does not match the manifest" in " ".join(verify(place))  # parts are large: only verify reads all of them
        return
    with pytest.raises(UserError, match=r"not wholly copied yet: 'statistics.duckdb' is not what was written"):
        open_store(place)


def test_a_store_that_is_replaced_while_it_is_opened(pair, place, monkeypatch):
    from store.read import opening

    connect = opening.connect

    def slow(*given):
        connection = connect(*given)
        removed_and_copied(pair[1], place)
        return connection

    monkeypatch.setattr(opening, "connect", slow)
    with pytest.raises(Replaced):
        open_store(place)
    monkeypatch.undo()
    with open_store(place) as store:
        assert sources(store) == NEW


def test_a_store_that_is_replaced_while_it_is_published(pair, place, tmp_path, monkeypatch):
    from store.exchange import publish as module

    copy = module.copy_subset

    def slow(*given):
        copied = copy(*given)
        overwritten(pair[1], place)
        return copied

    monkeypatch.setattr(module, "copy_subset", slow)
    with pytest.raises(Replaced):
        publish(place, tmp_path / "out", 60)
    assert not (tmp_path / "out").exists()


def test_imported_labels_belong_to_the_store_they_were_given(pair, place):
    digest = read_manifest(place).digest
    write_labels(place, digest, [Label(12, 0, "of the old", "me")])
    query = "SELECT label FROM features WHERE layer = 12 AND feature = 0"
    with open_store(place) as old:
        assert old.sql(query)["label"].tolist() == ["of the old"]
        removed_and_copied(pair[1], place)
        with open_store(place) as new:
            assert new.n_labels == 0 and new.sql(query)["label"].tolist() == ["sums"]


def test_two_stores_of_one_path_are_each_their_own(pair, place):
    """What DuckDB shares by path in a process it shares no more: settings, labels, closing."""
    first = open_store(place)
    second = open_store(place)
    first.close()
    assert sources(second) == OLD
    second.close()


def test_unqualified_names_mean_the_store_and_nothing_can_be_written_there(place):
    with open_store(place) as store:
        assert store.sql("SELECT current_database() AS d")["d"].tolist() == ["statistics"]
        writing = ("CREATE TABLE x (i INT)", "DELETE FROM documents", "DETACH statistics")
        outside = (f"ATTACH '{place}/x.duckdb'", "SELECT * FROM read_csv('/etc/passwd')", "SET enable_external_access = true")
        for query in (*writing, *outside):
            with pytest.raises(duckdb.Error):
                store.sql(query)


# ---- the app ----


@pytest.fixture
def shown(monkeypatch, place):
    def opened(view, **params):
        monkeypatch.setenv(data.VARIABLE, str(place))
        app = pages.open_page(view, **params)
        assert not app.exception
        return app

    return opened


def run_query(app):
    """A query that came in a link waits for its reader."""
    next(button for button in app.button if button.label == "Run").click().run()


def again(app):
    assert not app.run().exception
    return text(app)


@pytest.mark.parametrize("view", ["documents", "query"])
def test_a_page_shows_the_new_one_when_it_is_drawn_again(shown, replace, view):
    app = shown(view, **({"sql": SOURCES} if view == "query" else {}))
    if view == "query":
        run_query(app)
    assert "sum-1" in text(app) and "add-1" not in text(app)
    replace()
    assert "add-1" in again(app) and "sum-1" not in text(app)


def test_the_app_says_what_is_missing_and_comes_back_by_itself(shown, pair, place):
    app = shown("documents")
    shutil.rmtree(place)
    assert "There is no store at" in again(app)
    place.mkdir()
    assert "is not a finished store" in again(app)
    shutil.copytree(pair[1], place, dirs_exist_ok=True)
    content = (place / DATABASE_FILE).read_bytes()
    for half in (content[: len(content) // 2], content[: len(content) // 2] + bytes(len(content) - len(content) // 2)):
        (place / DATABASE_FILE).write_bytes(half)
        assert "not wholly copied yet" in again(app)
        assert len(app.error) == 1 and "add-1" not in text(app) and "sum-1" not in text(app)
    (place / DATABASE_FILE).write_bytes(content)
    assert "add-1" in again(app) and not app.error


def test_a_judgement_of_the_old_store_is_not_filed_under_the_new(shown, replace, place, pair):
    app = shown("review", reviewer="Ada", variant="maths")
    (button,) = [one for one in app.button if one.label == "⚑ Concern"]
    replace()
    button.click().run()
    assert not app.exception
    assert "Not saved: The store" in text(app) and "open it again" in text(app)
    for store in pair:
        assert read_reviews(place, read_manifest(store).digest, "maths") == []
    (button,) = [one for one in app.button if one.label == "⚑ Concern"]  # of the new store's page
    button.click().run()
    assert "Not saved" not in text(app)
    assert len(read_reviews(place, read_manifest(pair[1]).digest, "maths")) == 1


def test_a_query_that_runs_while_the_store_is_replaced_is_not_kept(shown, pair, place, monkeypatch):
    run = sandbox.run

    def slow(*given, **named):
        overwritten(pair[1], place)
        return run(*given, **named)

    monkeypatch.setattr(sandbox, "run", slow)
    app = shown("query", sql=SOURCES)
    run_query(app)
    assert "was changed or replaced while the page was drawn: reload" in text(app)
    monkeypatch.undo()
    monkeypatch.setenv(data.VARIABLE, str(place))
    assert "add-1" in again(app)
