"""What a scoring run shows while it works.

In a terminal it is a bar over all texts of all models. Elsewhere, in a log
file say, it is one line for each model.
"""

import sys
import time

import tqdm


class Progress:
    """Shows the texts that are scored, and what is being done.

    Attributes:
      is_shown: Whether anything is shown: by the first process alone.
    """

    def __init__(self, num_models: int, num_texts: int, *, is_shown: bool):
        """Shows a bar of no progress, or nothing yet.

        Args:
          num_models: Models that will be scored, one after the other.
          num_texts: Texts of each model.
          is_shown: Whether anything is shown.
        """
        self.is_shown = is_shown
        self._num_models = num_models
        self._num_texts = num_texts
        self._num_begun = 0
        self._name = ""
        self._bar = tqdm.tqdm(
            total=num_models * num_texts,
            unit="text",
            disable=not (is_shown and sys.stderr.isatty()),
        )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_) -> None:
        self._bar.close()

    def begin(self, name: str) -> None:
        """Goes on to the next model."""
        self._num_begun += 1
        self._name = name
        self._num_scored = self._num_skipped = 0
        self._started = self._since = time.monotonic()
        self._seconds: dict[str, float] = {}
        self._doing = ""
        self._bar.set_description(name)

    def doing(self, what: str) -> None:
        """Says what is being done for the model, such as "compiling"."""
        now = time.monotonic()
        spent = self._seconds.get(self._doing, 0.0)
        self._seconds[self._doing] = spent + now - self._since
        self._since, self._doing = now, what
        self._bar.set_postfix_str(what)

    def skip(self, num_texts: int) -> None:
        """Counts texts that an earlier run has scored."""
        self._num_skipped += num_texts
        self._bar.update(num_texts)

    def add(self, num_texts: int) -> None:
        """Counts texts that are scored now."""
        self._num_scored += num_texts
        self._bar.update(num_texts)

    def end(self, failure: BaseException | None = None) -> None:
        """Says that the model is done, or why it has failed."""
        self.doing("")
        if failure is not None:
            self._write(f"{self._name}: {failure}")
        elif self._bar.disable:
            self._write(f"{self._name}: {self._what_was_done()}")
        # A model that has failed counts as done.
        self._bar.update(self._num_begun * self._num_texts - self._bar.n)

    def done(self) -> str:
        """Returns how far the run has come."""
        num_before = self._num_begun - 1
        return (
            f"{num_before} of {self._num_models} models are done, and "
            f"{self._num_skipped + self._num_scored} of {self._num_texts} "
            f"texts of {self._name}"
        )

    def _what_was_done(self) -> str:
        if not self._num_scored:
            return f"all {self._num_texts} texts are scored already"
        parts = ", ".join(
            f"{what} {seconds:.1f} s"
            for what, seconds in self._seconds.items()
            if what
        )
        return f"{self._num_scored} of {self._num_texts} texts, {parts}"

    def _write(self, line: str) -> None:
        if self.is_shown:
            self._bar.write(line, file=sys.stderr)
