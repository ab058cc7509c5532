"""Which of several logs of one model on one task is read."""

import dataclasses
import pathlib
from collections.abc import Iterable, Sequence
from typing import TypeVar

from absl import logging

from mmc_jax.importers.frame import Options


@dataclasses.dataclass(frozen=True)
class Log:
    """One run of a model on a task, as a tool left it.

    Attributes:
      file: File that holds the scores of the documents.
      model: Name of the model, unique below the folder that is imported.
      task: Name of the task; it becomes a domain.
      date: When the run was, in the form of ISO 8601 or another that sorts; ""
        where the tool does not say it.
    """

    file: pathlib.Path
    model: str
    task: str
    date: str

    def label(self) -> str:
        """Returns how messages name the run."""
        return f"{self.task} of {self.date or self.file.parent}"


AnyLog = TypeVar("AnyLog", bound=Log)


def say_left_out(
    path: pathlib.Path,
    found: Iterable[pathlib.Path],
    taken: Iterable[pathlib.Path],
    what: str,
) -> None:
    """Warns of files of a folder that do not begin as logs of a tool do.

    One of them may be a log that is damaged, and its model would be missing
    without a word.

    Args:
      path: The folder, or one file of it.
      found: Files whose names end as those of logs do.
      taken: Those that are read.
      what: What the others are not, such as "logs of Inspect".
    """
    left = sorted(set(found).difference(taken))
    if path.is_dir() and left:
        logging.warning(
            "%s: left out, for they do not begin as %s do: %s",
            path,
            what,
            ", ".join(str(file.relative_to(path)) for file in left[:10])
            + (f" and {len(left) - 10} more" if len(left) > 10 else ""),
        )


def of_models(
    path: pathlib.Path, found: Sequence[AnyLog], options: Options
) -> list[tuple[str, list[AnyLog], list[AnyLog]]]:
    """Returns each model with the runs to read and those that are left out.

    A task that a model ran several times is read once: the latest run, or the
    one that `options.run` names. The others are logged.

    Args:
      path: File or folder that is imported, for errors.
      found: All runs, in any order.
      options: `run`, `tasks` and `only_models` matter here.

    Raises:
      ValueError: A task, model or run that is asked for is not there, or
        several runs have one date or none.
    """
    wanted = options.tasks
    if wanted is not None:
        for task in wanted:
            if all(log.task != task for log in found):
                raise ValueError(
                    f"{path}: no log of the task {task!r}; there are "
                    f"{', '.join(sorted({log.task for log in found}))}"
                )
        found = [log for log in found if log.task in wanted]
    run = options.run
    if run is not None and not any(_is_run(log, run) for log in found):
        raise ValueError(
            f"{path}: no run {run!r}; there are "
            f"{', '.join(log.label() for log in found[:10])}"
        )
    models: dict[str, dict[str, list[AnyLog]]] = {}
    for log in found:
        models.setdefault(log.model, {}).setdefault(log.task, []).append(log)
    chosen = []
    for model, of_tasks in sorted(models.items()):
        if not _is_wanted(model, options.only_models):
            continue
        taken, left = [], []
        for _, of_task in sorted(of_tasks.items()):
            log = _chosen(of_task, options.run)
            taken.append(log)
            left += [other for other in of_task if other is not log]
        if left:
            logging.warning(
                "%s: read %s; other runs are left out: %s (--run chooses)",
                model,
                ", ".join(log.label() for log in taken),
                ", ".join(log.label() for log in left),
            )
        chosen.append((model, taken, left))
    if not chosen:
        raise ValueError(
            f"{path}: none of the chosen models is there; it has "
            f"{', '.join(sorted(models)) or 'none'}"
        )
    return chosen


def _is_wanted(name: str, wanted: Sequence[str] | None) -> bool:
    last = name.rpartition("/")[2]
    return wanted is None or any(
        name == other or last == other.rpartition("/")[2] for other in wanted
    )


def _chosen(of_task: list[AnyLog], wanted: str | None) -> AnyLog:
    first = of_task[0]
    chosen = of_task
    if wanted is not None and len(of_task) > 1:
        chosen = [log for log in of_task if _is_run(log, wanted)]
        if not chosen:
            raise ValueError(
                f"{first.file.parent}: no run {wanted!r} of {first.model!r} on "
                f"{first.task}; there are "
                f"{', '.join(log.label() for log in of_task)}"
            )
    latest = max(log.date for log in chosen)
    chosen = [log for log in chosen if log.date == latest]
    if len(chosen) > 1:
        raise ValueError(
            f"{chosen[0].file}: another run of {first.model!r} on "
            f"{first.task} of the same date, or without one, is "
            f"{chosen[1].file}; choose by --run=<folder>"
        )
    return chosen[0]


def _is_run(log: Log, wanted: str) -> bool:
    """Returns whether a date begins so, or a folder is called so."""
    folder = pathlib.PurePath(wanted).parts
    parts = log.file.parent.parts
    inside = any(
        parts[i : i + len(folder)] == folder
        for i in range(len(parts) - len(folder) + 1)
    )
    return inside or (bool(log.date) and log.date.startswith(wanted))
