"""Cuts files off and flips their bits, and looks at what reading them gives."""

import pathlib
import random
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

from absl import logging

from tests.faults.files import Kind

# Files up to this size are cut off at every tenth byte; others at as many.
_SMALL = 4000
# What a stranger may put in the place of any file: nesting without end, with
# which a reader in C++ ends the process, and the beginning of another kind.
ODD = {
    "nested": b'{"text_id": "a", "m0": %s}\n' % (b"[" * 50_000 + b"]" * 50_000),
    "nested and cut off": b'{"a":' * 50_000,
    "no object": b"null\n[null]\n",
    "no gzip": b"\x1f\x8b\x08" + bytes(6) + b"\xff" + bytes(30),
}
# What programs turn into one line, see experiments/program.py.
OUR_ERRORS = (ValueError, OSError, ImportError)


class Damage(NamedTuple):
    """What became of the damaged files of one kind.

    Attributes:
      num_attempts: Number of damaged files that were read.
      num_caught: Number of those that were refused, the file named.
      num_harmless: Number of those that gave the same as before.
      num_others: Number of those that were read as another file, where nothing
        can tell; no fault.
      lost: What went wrong with the rest, a line each.
    """

    num_attempts: int
    num_caught: int
    num_harmless: int
    num_others: int
    lost: list[str]


def attack(
    kind: Kind, num_cuts: int | None, num_flips: int, seed: int = 0
) -> Damage:
    """Returns what reading damaged files gives.

    Args:
      kind: The kind of file.
      num_cuts: Number of places where files are cut off; None for every tenth
        byte of small files.
      num_flips: Number of bits that are flipped, one at a time.
      seed: Seed of the bits.
    """
    bits = random.Random(seed)
    counts = dict.fromkeys(("caught", "harmless", "others"), 0)
    lost, num_attempts = [], 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch, "files")
        folder.mkdir()
        kind.make(folder)
        files = [path for path in folder.glob(kind.damaged) if path.is_file()]
        assert files, kind.damaged
        before = _contents(folder)
        expected = kind.read(folder)
        _restore(folder, before)
        for path, how, content in _damages(files, num_cuts, num_flips, bits):
            path.write_bytes(content)
            num_attempts += 1
            try:
                found = outcome(kind, folder, path, expected)
            finally:
                _restore(folder, before)
            if found in counts:
                counts[found] += 1
            else:
                lost.append(f"{path.relative_to(folder)}, {how}: {found}")
    return Damage(num_attempts, *counts.values(), lost)


def _damages(
    files: list[pathlib.Path],
    num_cuts: int | None,
    num_flips: int,
    bits: random.Random,
) -> Iterator[tuple[pathlib.Path, str, bytes]]:
    """Yields a file, what was done, and the bytes that are left of it."""
    files = sorted(files)
    contents = {path: path.read_bytes() for path in files}
    for how, content in ODD.items():
        yield files[0], how, content
    for path, end in _ends(contents, num_cuts):
        yield path, f"cut off at {end}", contents[path][:end]
    sizes = [len(contents[path]) for path in files]
    for _ in range(num_flips):
        (path,) = bits.choices(files, sizes)
        content = bytearray(contents[path])
        at, bit = bits.randrange(len(content)), bits.randrange(8)
        content[at] ^= 1 << bit
        yield path, f"bit {bit} of byte {at} flipped", bytes(content)


def _ends(
    contents: dict[pathlib.Path, bytes], num_cuts: int | None
) -> Iterator[tuple[pathlib.Path, int]]:
    """Yields where files are cut off: so many places over all, or many each."""
    ends = []
    for path, content in contents.items():
        size = len(content)
        step = 10 if size <= _SMALL else size // (_SMALL // 10)
        if num_cuts is not None:
            step = 1
        ends += [(path, end) for end in range(0, size, step)]
    step = 1 if num_cuts is None else max(1, len(ends) // num_cuts)
    yield from ends[::step][:num_cuts]


def outcome(
    kind: Kind, folder: pathlib.Path, path: pathlib.Path, expected: object
) -> str:
    """Returns "caught", "harmless" or "others", or else what is wrong.

    Args:
      kind: The kind of file.
      folder: Folder of the files.
      path: The file that is not as it was.
      expected: What reading gave before.
    """
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.FATAL)  # What is set aside is said as well.
    try:
        found = kind.read(folder)
    except OUR_ERRORS as error:
        text = str(error)
        # What consists of many files is named by its folder.
        below = path.relative_to(folder).parts
        of_many = below[:1] if len(below) > 2 else ()
        if any(name in text for name in (path.name, *of_many, *kind.named)):
            return "caught"
        return f"not named: {type(error).__name__}: {text[:200]}"
    except Exception as error:
        return f"foreign: {type(error).__name__}: {str(error)[:200]}"
    finally:
        logging.set_verbosity(verbosity)
    if found == expected:
        return "harmless"
    return "in silence" if kind.has_checksum else "others"


def _contents(folder: pathlib.Path) -> dict[pathlib.Path, bytes]:
    return {
        path: path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _restore(folder: pathlib.Path, before: dict[pathlib.Path, bytes]) -> None:
    """Puts back what has changed; other files keep their times."""
    now = _contents(folder)
    for path in now.keys() - before.keys():
        path.unlink()
    for path, content in before.items():
        if now.get(path) != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
