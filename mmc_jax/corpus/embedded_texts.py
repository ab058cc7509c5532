"""The corpus that comes with Python: its documentation, code and headers."""

import ast
import collections
import hashlib
import json
import os
import pathlib
import pydoc_data.topics
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from typing import Literal

from absl import logging

from mmc_jax import at_once, user_cache
from mmc_jax.corpus.container import Corpus, Record, checked_corpus

# Texts of 256 to 1,024 bytes; one file in five is held out.
_MIN_BYTES = 256
_MAX_BYTES = 1024
_HELD_OUT_ONE_IN = 5
_EMBEDDED_DOMAINS = ("prose", "docstring", "python", "c")


def embedded(split: Literal["train", "held_out"]) -> Corpus:
    """Returns text that comes with the running Python: no download is needed.

    Domains: `prose`, the reference topics of `pydoc_data.topics`; `docstring`,
    the docstrings of the standard library; `python`, its code without them;
    `c`, the headers of the C interface. Files are cut into texts of 256 to
    1,024 bytes at line ends, else at character boundaries; a text that occurs
    twice is kept once. One file in five, by the hash of its name, is held out,
    its code together with its docstrings.

    Args:
      split: "train" or "held_out".

    Raises:
      ValueError: Another split.
    """
    if split not in ("train", "held_out"):
        raise ValueError(f"split is {split!r}; it must be train or held_out")
    records, seen = [], set()
    for domain, file, content in _embedded_files():
        held_out = _hash(file.encode())[0] % _HELD_OUT_ONE_IN == 0
        for start, text in _cut(content, file):
            # Duplicates are dropped across the splits too: nothing leaks.
            if text in seen:
                continue
            seen.add(text)
            if held_out == (split == "held_out"):
                name = f"{domain}:{file}:{start}"
                records.append(Record(name, text, name, domain))
    missing = set(_EMBEDDED_DOMAINS) - {record.domain for record in records}
    if missing:
        warnings.warn(
            f"this Python comes without text for {', '.join(sorted(missing))}; "
            "the embedded corpus goes on without (Debian's python3-dev package "
            "holds the C headers)",
            stacklevel=2,
        )
    return checked_corpus(
        lambda: iter(records), f"embedded corpus ({split})", with_texts=True
    )


def _hash(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _embedded_files() -> Iterator[tuple[str, str, str]]:
    """Yields (domain, file name, content), in a fixed order."""
    for topic, content in sorted(pydoc_data.topics.topics.items()):
        yield "prose", f"pydoc_data/topics/{topic}", content
    for name, docstrings, code in _modules():
        yield "docstring", name, docstrings
        yield "python", name, code
    headers = pathlib.Path(sysconfig.get_path("include"))
    for path in sorted(headers.rglob("*.h")):
        content = path.read_text("utf-8", errors="ignore")
        yield "c", path.relative_to(headers).as_posix(), content


def _modules() -> list[list[str]]:
    """Returns [file name, docstrings, code] of the standard library's modules.

    Parsing them takes seconds, so the user's cache keeps them, under a name
    that says which files they come from and which code has read them.
    """
    library = pathlib.Path(sysconfig.get_path("stdlib"))
    paths = _module_paths(library)
    stats = [path.stat() for path in paths]
    source = [
        sys.version,
        pathlib.Path(__file__).read_text("utf-8"),
        [str(path) for path in paths],
        [[stat.st_size, stat.st_mtime_ns] for stat in stats],
    ]
    cache = user_cache.folder("corpus")
    kept = None
    if cache is not None:
        kept = cache / f"{_hash(json.dumps(source).encode()).hex()}.json"
        try:
            digest, _, content = kept.read_bytes().partition(b"\n")
            if digest == _hash(content).hex().encode():
                return json.loads(content)
        except OSError:
            pass  # The first time.
    modules = []
    for path in paths:
        try:
            texts = _docstrings_and_code(path.read_text("utf-8"))
        except (SyntaxError, UnicodeDecodeError, ValueError):
            continue  # Some library files are bad on purpose.
        modules.append([path.relative_to(library).as_posix(), *texts])
    if kept is not None:
        content = json.dumps(modules).encode()
        digest = _hash(content).hex().encode()
        try:
            with at_once.replaced(kept) as new:
                new.write_bytes(digest + b"\n" + content)
        except OSError as error:
            logging.warning("%s: texts are not kept: %s", kept, error)
    return modules


def _module_paths(library: pathlib.Path) -> list[pathlib.Path]:
    """Returns the library's modules; not tests, tables or what users added."""
    skipped = {"test", "tests", "site-packages", "dist-packages", "encodings"}
    skipped |= {"pydoc_data", "__pycache__", "ensurepip", "idle_test"}
    paths = []
    for folder, folders, files in os.walk(library):
        folders[:] = set(folders) - skipped
        paths += [
            pathlib.Path(folder, file)
            for file in set(files) - skipped
            if file.endswith(".py")
        ]
    return sorted(paths)


def _docstrings_and_code(source: str) -> tuple[str, str]:
    """Returns a module's docstrings, joined, and its code without them."""
    lines = source.split("\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Old escapes in library code.
        tree = ast.parse(source)
    docstrings = []
    documented = ast.Module | ast.ClassDef | ast.FunctionDef
    for node in _statements(tree):
        if isinstance(node, documented | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring:
                docstrings.append(docstring)
                first, last = node.body[0].lineno, node.body[0].end_lineno
                lines[first - 1 : last] = [None] * (last - first + 1)
    code = "\n".join(line for line in lines if line is not None)
    return "\n\n".join(docstrings), code


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """Yields a module and its statements, in the order of `ast.walk`.

    That goes through expressions as well, which takes longer than parsing.
    """
    waiting = collections.deque([tree])
    while waiting:
        node = waiting.popleft()
        yield node
        for field in ("body", "handlers", "orelse", "finalbody", "cases"):
            waiting.extend(getattr(node, field, ()))


def _cut(content: str, file: str) -> Iterator[tuple[int, str]]:
    """Yields (first byte, text) of texts of 256 to 1,024 bytes of a file."""
    raw = content.encode()
    start = 0
    while len(raw) - start >= _MIN_BYTES:
        draw = int.from_bytes(_hash(f"{file}:{start}".encode())[:4], "big")
        end = start + _MIN_BYTES + draw % (_MAX_BYTES - _MIN_BYTES + 1)
        if end < len(raw):
            line_end = raw.rfind(b"\n", start + _MIN_BYTES, end) + 1
            end = line_end or end
            # Inside a character: back, or on where that is below the minimum.
            step = -1 if end - start > _MIN_BYTES + 2 else 1
            while end < len(raw) and raw[end] & 0xC0 == 0x80:
                end += step
        end = min(end, len(raw))
        text = raw[start:end].decode()
        if text.strip():
            yield start, text
        start = end
