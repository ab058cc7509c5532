"""Feeds readers with files that no one has written.

    python -m tests.faults.fuzz "pool in YAML" 60 findings

does so for 60 seconds, guided by coverage: with atheris where it is installed,
else more slowly by what Python traces. What fails is kept in the folder.
"""

import collections
import contextlib
import hashlib
import pathlib
import random
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator

from tests.faults import damage, strangers
from tests.faults.files import KINDS

# Readers that are called thousands of times: no seconds, no checksum of our own
# that refuses all that is new.
READERS = {
    name: KINDS[name]
    for name in (
        *strangers.FILES,
        "scores of a model",
        "corpus of a score table",
        "result.json",
        "certificate alone",
        "safetensors of a stranger",
        "config.json of a stranger",
        "scores in Parquet",
        "corpus in Parquet",
        "points in CSV",
        "scores in CSV",
        "facts of models in CSV",
        "pool in YAML",
        "corpus in JSON lines",
    )
}

# What is put into files: ends of numbers, of strings and of nesting.
TOKENS = (
    *(b"nan", b"-inf", b"1e999", b"-1", b"0", b"9" * 400, b"1e-320", b"true"),
    *(b"null", b'"', b"'", b",", b";", b"\t", b"\n", b"\r", b"\x00", b"\xff"),
    *(b"[" * 2000, b"{" * 50, b"]", b"}", b":", b"&a ", b"*a", b"!!python/x "),
    *(b"- ", b"\xef\xbb\xbf", b"\xff\xfe", b"2020-13-45", b"<<: ", b"\\ud800"),
)

# Kinds that are ZIP files, whose own checksums would refuse all that is new:
# their members are edited, and packed again.
_PACKED = (
    "certificate alone",
    "logs of Inspect in archives",
    "scores in Excel",
    "scores in NumPy",
)
_NEXT = b"\n--- next member ---\n"


class Target:
    """A reader with its files, and one of them that changes."""

    def __init__(self, name: str, folder: pathlib.Path):
        self.kind = READERS[name]
        self.folder = folder
        self.kind.make(folder)
        (self.path,) = folder.glob(self.kind.damaged)
        self.seed, self._members = self.path.read_bytes(), []
        if name in _PACKED:
            with zipfile.ZipFile(self.path) as archive:
                self._members = archive.namelist()
                self.seed = _NEXT.join(map(archive.read, self._members))
        self.expected = self.kind.read(folder)

    def attack(self, content: bytes) -> str:
        """Returns what reading the content gives, as `damage.outcome` does."""
        if self._members:
            # Members that are cut off are not there.
            with zipfile.ZipFile(self.path, "w") as archive:
                for name, member in zip(
                    self._members, content.split(_NEXT), strict=False
                ):
                    archive.writestr(name, member)
        else:
            self.path.write_bytes(content)
        found = damage.outcome(self.kind, self.folder, self.path, self.expected)
        # A file that was made on purpose is no damage.
        return "others" if found == "in silence" else found


FINE = ("caught", "harmless", "others")


@contextlib.contextmanager
def target(name: str) -> Iterator[Target]:
    """Gives a reader with files of its own."""
    with tempfile.TemporaryDirectory() as folder:
        yield Target(name, pathlib.Path(folder))


def edited(content: bytes, choices: random.Random) -> bytes:
    """Returns a content with one to four edits."""
    for _ in range(choices.randint(1, 4)):
        start = choices.randint(0, len(content))
        end = min(len(content), start + choices.choice((0, 1, 4, 40)))
        put = choices.choice(
            (
                b"",
                choices.choice(TOKENS),
                choices.randbytes(choices.randint(1, 8)),
                content[start:end] * 3,
            )
        )
        content = content[:start] + put + content[end:]
    return content


def _guided(aim: Target, seconds: float, found: list[bytes]) -> int:
    """Edits files that reached new lines; returns the number of attempts."""
    seen: collections.Counter = collections.Counter()
    lines: set[tuple[str, int]] = set()

    def trace(frame, event, argument):
        if "/mmc_jax/" not in frame.f_code.co_filename:
            return None
        lines.add((frame.f_code.co_filename, frame.f_lineno))
        return trace

    choices, kept, num = random.Random(0), [aim.seed], 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        content = edited(choices.choice(kept), choices)
        lines.clear()
        sys.settrace(trace)
        try:
            outcome = aim.attack(content)
        finally:
            sys.settrace(None)
        num += 1
        if outcome not in FINE:
            found.append(content)
            print(outcome, flush=True)
        if lines - seen.keys():
            kept.append(content)
            seen.update(lines)
    return num


def _by_atheris(
    atheris, name: str, seconds: int, findings: pathlib.Path
) -> None:
    """Runs atheris, which ends the process."""
    scratch = tempfile.mkdtemp()
    seeds = pathlib.Path(scratch, "seeds")
    seeds.mkdir()
    with atheris.instrument_imports(include=["mmc_jax"]):
        aim = Target(name, pathlib.Path(tempfile.mkdtemp()))
    (seeds / "seed").write_bytes(aim.seed)
    (dictionary := pathlib.Path(scratch, "tokens")).write_text(
        "".join(
            '"' + "".join(f"\\x{byte:02x}" for byte in token[:60]) + '"\n'
            for token in TOKENS
        )
    )

    def attack(content: bytes) -> None:
        outcome = aim.attack(content)
        if outcome not in FINE:
            raise AssertionError(outcome)

    atheris.Setup(
        [
            "fuzz",
            str(seeds),
            f"-dict={dictionary}",
            f"-max_total_time={seconds}",
            f"-artifact_prefix={findings}/",
            "-rss_limit_mb=4096",
            "-timeout=60",
            "-print_final_stats=1",
        ],
        attack,
    )
    atheris.Fuzz()


def main(name: str, seconds: str, findings: str) -> None:
    """Attacks one reader for some seconds; prints the number of attempts."""
    folder = pathlib.Path(findings)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import atheris
    except ImportError:
        pass
    else:
        _by_atheris(atheris, name, int(seconds), folder)
    found: list[bytes] = []
    with target(name) as aim:
        num = _guided(aim, float(seconds), found)
    for content in found:
        digest = hashlib.sha256(content).hexdigest()[:16]
        (folder / f"crash-{digest}").write_bytes(content)
    print(f"number_of_executed_units: {num}")


if __name__ == "__main__":
    main(*sys.argv[1:])
