"""Every command with paths that are none, of the wrong kind, unreadable, or full of rubbish: one sentence, exit code 2.

Long because each command meets each kind of fault.
"""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from extract.__main__ import app, main
from extract.demo.__main__ import app as demo_app
from extract.demo.__main__ import main as demo_main
from store.files import check_writable, write_text
from tests.support import ROOT
from tests.support.powers import give_up_override
from tests.support.runs import in_a_process

LIMIT = 30  # seconds for a command that has nothing to do


def missing(path: Path) -> None:
    """Nothing is there."""


def folder(path: Path) -> None:
    path.mkdir()
    (path / "something").write_text("x")


def empty(path: Path) -> None:
    path.touch()


def rubbish(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 20)


def utf16(path: Path) -> None:
    path.write_text("base: a\nlayer,feature,label\n", encoding="utf-16")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def dangling(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


def loop(path: Path) -> None:
    path.symlink_to(path)


def unreadable(path: Path) -> None:
    path.write_text("base: a\n")
    path.chmod(0)


def unreadable_folder(path: Path) -> None:
    path.mkdir()
    (path / "manifest.json").write_text("{}")
    path.chmod(0)


def half_a_store(path: Path) -> None:
    path.mkdir()
    (path / "manifest.json").write_bytes(b'{"schema_version": 3, "base": ')


BROKEN: tuple[Callable[[Path], None], ...] = (
    missing, folder, empty, rubbish, utf16, pipe, dangling, loop, unreadable, unreadable_folder, half_a_store,
)  # fmt: skip
NAMES = ("plain", "two\nlines", "50% 'quoted' \"x\"", "naïve 你好", "\udcff\udcfe", "x" * 250)

READING = {
    "run": lambda path, scratch: ["run", path, "--out", f"{scratch}/store"],
    "check": lambda path, _scratch: ["check", path],
    "info": lambda path, _scratch: ["info", path],
    "findings": lambda path, _scratch: ["findings", path],
    "verify": lambda path, _scratch: ["verify", path],
    "labels of": lambda path, scratch: ["labels", path, f"{scratch}/labels.csv"],
    "publish": lambda path, scratch: ["publish", path, "--out", f"{scratch}/copy"],
    "steer": lambda path, scratch: ["steer", path, f"{scratch}/run.yaml", "--layer", "1", "--feature", "1", "--variant", "a"],
    "bench": lambda path, _scratch: ["bench", path],
    "init": lambda path, scratch: ["init", path, "--out", f"{scratch}/new.yaml"],
    "init --base": lambda path, scratch: ["init", "--base", path, "--out", f"{scratch}/new.yaml"],
    "init --variant": lambda path, scratch: ["init", "--variant", f"a={path}", "--out", f"{scratch}/new.yaml"],
    "init --sae": lambda path, scratch: ["init", scratch, "--sae", path, "--out", f"{scratch}/new.yaml"],
    "init --data": lambda path, scratch: ["init", "--data", path, "--variant", "a=b", "--out", f"{scratch}/new.yaml"],
}
"""Commands by what they read; steer reads its configuration first."""


def refused(arguments: list[str]) -> str | None:
    """What is wrong with how a command ended that had to be refused; None where nothing is."""
    said, told = io.StringIO(), io.StringIO()
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(LIMIT)
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(told):
            code = main(arguments)
    except BaseException:
        return f"it raised {traceback.format_exc()}"
    finally:
        signal.alarm(0)
    lines = said.getvalue().splitlines()
    sentences = [line for line in lines if re.match(r"(error|missing): \S.{20,900}[.)]$", line)]
    if code != 2 or len(sentences) < 1 or (arguments[0] != "check" and len(sentences) != 1):
        return f"code {code}, {lines}"
    if "Traceback" in said.getvalue() or "Errno" in said.getvalue():
        return f"{lines}"
    return None


def _too_long(*_arguments: object) -> None:
    raise TimeoutError("it did not end")


def every_broken_path(root: str) -> dict[str, str]:
    """Command and fault -> what is wrong with how it ended; empty where every one was refused in a sentence."""
    give_up_override()
    scratch = Path(root)
    (scratch / "labels.csv").write_text("layer,feature,label\n1,1,a\n")
    (scratch / "run.yaml").write_text("base: a\nvariants: {a: {adapter: b}}\nsaes: [{path: ./c}]\ncorpus: [{path: ./d}]\n")
    found = {}
    for number, fault in enumerate(BROKEN):
        for name in NAMES if fault in (missing, folder, rubbish) else NAMES[:1]:
            place = scratch / str(number) / name
            place.parent.mkdir(exist_ok=True)
            fault(place)
            for command, line in READING.items():
                if wrong := refused([str(word) for word in line(place, scratch)]):
                    found[f"{command}, {fault.__name__}, {name!r}"] = wrong
    if left := [path.name for path in scratch.iterdir() if path.name.startswith(("store", "copy", "new"))]:
        found["left behind"] = str(left)
    return found


def test_every_command_on_every_broken_path(tmp_path):
    assert in_a_process(every_broken_path, str(tmp_path)) == {}


def every_output_that_cannot_be_written(root: str, store: str) -> dict[str, str]:
    """The same, of places to write to."""
    give_up_override()
    scratch = Path(root)
    (scratch / "file").write_text("x")
    (scratch / "folder").mkdir()
    (scratch / "closed").mkdir()
    (scratch / "closed").chmod(0o500)
    (scratch / "run.yaml").write_text("base: a\nvariants: {a: {adapter: b}}\nsaes: [{path: ./c}]\ncorpus: [{path: ./d}]\n")
    places = ["file/x", "closed/x", "closed/new/x", "folder", "y" * 300]
    lines = {
        "findings --out": ["findings", store, "--out"],
        "publish --out": ["publish", store, "--out"],
        "run --out": ["run", str(scratch / "run.yaml"), "--out"],
        "demo --out": ["demo", "--out"],
        "init --out": ["init", str(scratch), "--force", "--out"],
        "bench --page": ["bench", "--tokens", "10", "--page"],
        "bench --json": ["bench", "--tokens", "10", "--json"],
        "bench-truth --page": ["bench-truth", "--quick", "--page"],
        "bench-truth --json": ["bench-truth", "--quick", "--json"],
    }
    return {
        f"{command} {place[:20]}": wrong
        for command, line in lines.items()
        for place in places
        if (wrong := refused([*line, str(scratch / place)]))
    }


def test_every_output_that_cannot_be_written(tmp_path, tiny_store):
    """Before anything is computed for it."""
    assert in_a_process(every_output_that_cannot_be_written, str(tmp_path), str(tiny_store)) == {}


@pytest.mark.parametrize("place", ["new.md", "new/folders/new.md", "50% naïve\n.md"])
def test_findings_are_written_where_nothing_was(tiny_store, tmp_path, place, capsys):
    assert main(["findings", str(tiny_store)]) == 0
    page = capsys.readouterr().out
    assert main(["findings", str(tiny_store), "--out", str(tmp_path / place)]) == 0
    assert (tmp_path / place).read_text(encoding="utf-8") == page
    assert [path for path in (tmp_path / place).parent.iterdir() if path.is_file()] == [tmp_path / place]


def test_a_page_of_findings_takes_the_place_of_an_older_one_behind_a_link(tiny_store, tmp_path):
    (tmp_path / "real.md").write_text("old")
    (tmp_path / "link.md").symlink_to(tmp_path / "real.md")
    assert main(["findings", str(tiny_store), "--out", str(tmp_path / "link.md")]) == 0
    assert (tmp_path / "link.md").is_symlink() and (tmp_path / "real.md").read_text().startswith("# ")


def test_what_is_no_file_is_written_to(tmp_path):
    write_text(Path("/dev/null"), "x")
    assert not list(Path("/dev").glob("null.*"))
    check_writable(tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()  # only looked at


ENVIRONMENTS = {
    "narrow": {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"},
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
    "no home": {"HOME": "/nowhere/at/all", "XDG_CACHE_HOME": "/nowhere"},
    "no cache": {"FEATURESHIFT_CACHE": "/proc/none"},
    "no scratch": {"TMPDIR": "/nowhere"},
}


@pytest.mark.parametrize("environment", ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_findings_in_odd_environments(tiny_store, environment):
    ended = command("findings", tiny_store, environment=environment)
    assert ended.returncode == 0 and not ended.stderr and ended.stdout.startswith(b"# ")


def command(*arguments: object, environment: dict[str, str] | None = None, shell: str = "") -> subprocess.CompletedProcess:
    """``python -m extract ARGUMENTS``; shell: what stands behind it on its line."""
    line = f'exec "$0" -m extract "$@" {shell}'
    words = [sys.executable, *map(str, arguments)]
    return subprocess.run(["sh", "-c", line, *words], cwd=ROOT, env={**os.environ, **(environment or {})},
                          capture_output=True, timeout=120)  # fmt: skip


@pytest.mark.parametrize(
    ("shell", "code", "says"),
    [("> /dev/full", 2, "disk is full"), (">&-", 0, ""), ("2>&-", 0, ""), ("> /dev/full 2> /dev/full", 2, "")],
)
def test_an_output_that_takes_nothing(shell, code, says):
    ended = command("fields", shell=shell)
    assert ended.returncode == code and says in ended.stderr.decode() and b"Traceback" not in ended.stderr
    assert len(ended.stderr.splitlines()) == bool(says)


def test_a_reader_that_goes_away(tiny_store):
    """``| head -1``: no message, since nothing is wrong; and no exit code of success."""
    line = f"'{sys.executable}' -m extract findings '{tiny_store}'; echo $? >&2"
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(["sh", "-c", line], cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, timeout=120)
    os.close(writing)
    assert ended.stderr.decode().split() == ["141"]


def test_a_folder_that_is_gone(tmp_path):
    """Started in a folder that was removed meanwhile."""
    line = f"mkdir '{tmp_path}/here' && cd '{tmp_path}/here' && rmdir ../here && '{sys.executable}' -m extract info x"
    ended = subprocess.run(["sh", "-c", line], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, timeout=120)
    said = ended.stderr.decode()
    assert ended.returncode == 2 and "Traceback" not in said and said.count("error: ") == 1


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "command is missing"), ("nope", '"nope"'), ("--bogus", "--bogus"), ("run", "CONFIG"), ("run x", "--out"),
        ("run x y --out z", "'y'"), ("run x --out", "--out"), ("run x --out y --bogus", "--bogus"),
        ("run x --out y --workers 1.5", '"1.5"'), ("run x --out y --engine [red]z", '"[red]z"'), ("fields x", "'x'"),
        ("steer a b --layer x --feature 1 --variant c", "--layer"), ("publish x --out y --max-mb z", '"z"'),
    ],
)  # fmt: skip
def test_a_wrong_line_is_told_in_a_sentence(line, says, capsys):
    assert main(line.split()) == 2
    told = capsys.readouterr()
    assert not told.out and re.fullmatch(r"error: .+ See '.*--help'\.\n", told.err) and says in told.err


@pytest.mark.parametrize("line", ["train-adapter nope", "--base", "data x", "rebuild --out x", "answers --renew"])
def test_a_wrong_line_of_the_demo_is_told_in_a_sentence(line, capsys):
    assert demo_main(line.split()) == 2
    assert re.fullmatch(r"error: .+ See '.*--help'\.\n", capsys.readouterr().err)


@pytest.mark.parametrize("width", [20, 100])
@pytest.mark.parametrize(("run", "names"), [(main, list(app)), (demo_main, list(demo_app))])
def test_the_help_of_every_command_is_plain_and_narrow(run, names, width, capsys, monkeypatch):
    """No boxes, no colours, nothing about shell completion; every argument is explained."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("FORCE_COLOR", "1")
    for made in (app.meta, demo_app.meta):
        monkeypatch.setattr(made, "_fallback_console", None)  # it keeps the width of when it was first asked for
    for line in [["--help"], *([name, "--help"] for name in names if not name.startswith("-"))]:
        assert run(line) == 0
        told = capsys.readouterr()
        assert told.out.isascii() and "\x1b" not in told.out and "completion" not in told.out and not told.err
        assert "--debug" in told.out and max(map(len, told.out.splitlines())) <= max(width, 50)
        assert not re.search(r"^  (--)?[\w-]+( [A-Z]+)?$", told.out, re.MULTILINE)


def test_a_fault_of_ours_is_told_as_one(monkeypatch, capsys, tiny_store):
    """With the traceback kept, since a long run is not to be made again for it."""
    monkeypatch.setattr("store.reports.terminal.describe", lambda _store: {}["a\nb"])
    assert main(["info", str(tiny_store)]) == 70
    (said,) = capsys.readouterr().err.splitlines()
    log = Path(re.search(r"the file '(.+)'\.$", said)[1])
    assert "not of your input: KeyError" in said and "test_commands.py" in log.read_text(encoding="utf-8")
    log.unlink()
    with pytest.raises(KeyError):
        main(["info", str(tiny_store), "--debug"])


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")])
def test_memory_that_is_short(monkeypatch, capsys, tiny_store, error):
    def fail(_store: object) -> None:
        raise error

    monkeypatch.setattr("store.reports.terminal.describe", fail)
    assert main(["info", str(tiny_store)]) == 2
    assert "not enough memory" in capsys.readouterr().err


def test_the_words_of_json_are_kept(tmp_path):
    """The pages of a bench, on a file that is not there: what is between the markers is replaced the next time."""
    from extract.bench.page import BEGIN, END, Row, write_json, write_page

    rows = {"Cost": [Row("tokens", 12.5, "at least 10", True)]}
    for value in (12.5, 13.5):
        rows["Cost"][0] = Row("tokens", value, "at least 10", True)
        write_page(rows, tmp_path / "new" / "page.md")
        write_json(rows, tmp_path / "new" / "page.json")
    page = (tmp_path / "new" / "page.md").read_text(encoding="utf-8")
    assert page.startswith(BEGIN) and page.rstrip().endswith(END) and "| tokens | 13.5 |" in page and "12.5" not in page
    assert json.loads((tmp_path / "new" / "page.json").read_text())["Cost"][0]["value"] == 13.5
