"""Somebody without rights: tests often run as root, whom no mode of a file keeps out."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65534


@contextmanager
def nobody() -> Iterator[None]:
    """Without root's rights inside the context; as the user who runs the tests where that is not root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that anybody may look into, as pytest's own are not; whatever modes it holds at the end, it goes."""
    folder = Path(tempfile.mkdtemp(prefix="featureshift-test-"))
    folder.chmod(0o777)
    try:
        yield folder
    finally:
        _unlock(folder)
        shutil.rmtree(folder)


def _unlock(folder: Path) -> None:
    folder.chmod(0o700)
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            _unlock(path)
