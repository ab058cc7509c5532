"""Tokenizers are checked before anything is scored.

A tokenizer file comes from a stranger: its normaliser may grow a text without
end, its pattern may never come back, its library may end the process. So it is
tried in a process of its own, under a limit of time. What it loses of known
texts is listed, before hours are spent.

    python -m mmc_jax.scoring.tokenizer_checks FOLDER ...

prints a line of JSON for each checkpoint.
"""

import contextlib
import json
import os
import pathlib
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from mmc_jax import pool

# Seconds for the texts of one tokenizer; the first has the start of Python on
# its account as well. A vocabulary of 256,000 tokens takes some five.
SECONDS = 60.0
# Bytes of memory for that process, files that are mapped not counted. A
# vocabulary of 256,000 tokens takes less than one gigabyte.
_MEMORY = 8 * 2**30


class TokenizerCheck(NamedTuple):
    """What a tokenizer makes of known texts.

    Attributes:
      lost_texts: The texts that decoding does not give back.
      error: Why the tokenizer cannot be used; None where it can.
    """

    lost_texts: list[str]
    error: str | None


def check(
    checkpoints: Sequence[str | os.PathLike[str]], *, seconds: float = SECONDS
) -> Iterator[TokenizerCheck]:
    """Yields what each checkpoint's tokenizer makes of known texts.

    Args:
      checkpoints: Local folders or GGUF files.
      seconds: Time limit of each, in seconds.
    """
    waiting = [os.fspath(checkpoint) for checkpoint in checkpoints]
    while waiting:
        with _Child(waiting) as child:
            for _ in range(len(waiting)):
                answer = child.answer(seconds)
                del waiting[0]
                yield answer
                if not child.is_alive:
                    break  # The rest goes to another process.


def refusals(models: Sequence[pool.Model]) -> dict[str, str]:
    """Returns why tokenizers cannot be used, by the models' names.

    What other tokenizers lose of known texts goes to stderr, a line a model.
    A model whose checkpoint or config is not there is left to those who need
    them.

    Args:
      models: Models that have no scores yet.
    """
    from mmc_jax.models import hub

    folders = {}
    for model in models:
        with contextlib.suppress(OSError, ValueError):
            folder = hub.resolve(
                model.checkpoint, model.revision, with_weights=False
            )
            if folder.is_file() or (folder / "config.json").is_file():
                folders[model.name] = folder
    found = {}
    checks = check(list(folders.values()))
    for name, answer in zip(folders, checks, strict=True):
        if answer.error is not None:
            found[name] = answer.error
        elif answer.lost_texts:
            print(
                f"{name}: its tokenizer does not give back "
                f"{len(answer.lost_texts)} of the texts that are tried, such "
                f"as {answer.lost_texts[0]!r}; on such texts its losses per "
                "byte are those of another text",
                file=sys.stderr,
            )
    return found


class _Child:
    """A process that checks tokenizers one after the other.

    Args:
      checkpoints: Paths of the checkpoints that it checks, in their order.

    Attributes:
      is_alive: Whether the process goes on to the next checkpoint.
    """

    def __init__(self, checkpoints: Sequence[str]):
        self.is_alive = True
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, *checkpoints],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._process.stdout, selectors.EVENT_READ)

    def answer(self, seconds: float) -> TokenizerCheck:
        """Returns the check of the next checkpoint, or why there is none."""
        if not self._selector.select(seconds):
            self._stop()
            return TokenizerCheck(
                [],
                "its tokenizer has not tokenized some short texts in "
                f"{seconds:g} seconds; it is damaged, or made to hang",
            )
        line = self._process.stdout.readline()
        if line:
            return TokenizerCheck(**json.loads(line))
        self._stop()
        said = self._process.stderr.read().decode(errors="replace").split("\n")
        last = next((text for text in reversed(said) if text.strip()), "")
        return TokenizerCheck(
            [],
            "its tokenizer ended the process that tried it (exit code "
            f"{self._process.returncode}) {last}".rstrip(),
        )

    def _stop(self) -> None:
        self.is_alive = False
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> "_Child":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._selector.close()
        self._process.stdout.close()
        self._process.stderr.close()


def _checked(checkpoint: str) -> dict[str, Any]:
    """Returns the fields of `TokenizerCheck`, whatever happens."""
    from mmc_jax.scoring import tokenization

    try:
        tokenizer = tokenization.load(pathlib.Path(checkpoint))
        return {"lost_texts": tokenization.lost_texts(tokenizer), "error": None}
    # A panic of the library is no Exception.
    except BaseException as error:
        name = "" if isinstance(error, ValueError) else type(error).__name__
        reason = f"{name}: {error}" if name else str(error)
        return {"lost_texts": [], "error": reason}


def _limit() -> None:
    """Limits memory, and the processor's time from now on.

    Whoever waits for this process has a limit of its own, but may be gone.
    """
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource  # Not on Windows.

        resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
        limit = int(time.process_time() + 2 * SECONDS)
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (limit, hard))


def _main() -> None:
    for checkpoint in sys.argv[1:]:
        _limit()
        print(json.dumps(_checked(checkpoint)), flush=True)


if __name__ == "__main__":
    _main()
