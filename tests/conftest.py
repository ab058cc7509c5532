"""JAX for all tests: 8 virtual CPU devices, exact matmuls, strict dtypes.

Programs are compiled quickly but for tests marked `full_optimisation`.

Compiled programs are kept for all processes of the run, in a folder that goes
with it: tests leave nothing in the user's cache.

Warnings are errors; each exception has its reason.
"""

import gc
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

# Before PyTorch is imported: its models are tiny, and its threads would wait
# for each other by spinning, on processors that other workers need.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import jax
import pytest

from tests import optimisation
from tests.models.cases import CASES

# What is imported and collected stays: no garbage is looked for among it.
gc.disable()

optimisation.install()
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_default_matmul_precision", "highest")
jax.config.update("jax_numpy_dtype_promotion", "strict")

# Filters of warnings that are none of ours, each under its reason; such as
# "ignore:the message's beginning:DeprecationWarning:the_module".
_EXCEPTIONS = (
    # Orbax gives up a damaged entry while other reads of it are under way: they
    # end, in whatever test runs then, on an event loop that is closed.
    "ignore:Exception ignored in. None:pytest.PytestUnraisableExceptionWarning",
    # Another process is still writing the program: it is compiled once more.
    "ignore:Error reading persistent compilation cache entry:UserWarning",
)


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # Not a worker of pytest-xdist.
        folder = tempfile.mkdtemp(prefix="mmc_jax_tests_")
        optimisation.keep_programs(folder)
        os.environ["MMC_CACHE_DIR"] = folder
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    for warning in ("error", *_EXCEPTIONS):
        config.addinivalue_line("filterwarnings", warning)
    config.addinivalue_line(
        "markers", "full_optimisation: compiles programs as users do"
    )


# Some 0.3 MB each; without a program there are 1,000.
_MOST_MAPS = 5_000

# Files whose tests go to the workers by family, those of all files to one, as
# each family compiles its own programs. A file with something that all of its
# tests share goes as a whole.
_BY_FAMILY = (
    "test_loading.py",
    "test_parity.py",
    "test_random_configs.py",
    "test_sharding.py",
)
_FAMILY = re.compile(
    f"_({'|'.join(sorted(CASES, key=len, reverse=True))})(?=_|$)"
)

# Files whose few tests take long: they begin first, so that no worker waits for
# another at the end.
_LONG = (
    "tests/frontier/proof/test_certification.py",
    "tests/faults/test_kills.py",
    "tests/oracle/test_backends.py",
    "tests/experiments/test_programs.py",
    "tests/experiments/test_diversity.py",
    "tests/report/test_same_bytes.py",
    "tests/report/test_laws.py",
    "tests/diversity/test_family_studies.py",
    "tests/experiments/test_certificates.py",
    "tests/test_hosts.py",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Moves the tests of long files to the front."""
    items.sort(key=lambda item: not item.nodeid.startswith(_LONG))


def pytest_collection_finish() -> None:
    """Looks for garbage more seldom, and not among what was imported.

    A million objects of libraries stay to the end. To look through them again
    and again takes a tenth of the processor time of all tests.
    """
    gc.freeze()
    gc.enable()
    gc.set_threshold(20_000, 10, 10)


def _group(nodeid: str) -> str:
    """Returns what goes to one worker: a file, or the tests of a family."""
    file, *names = nodeid.split("::")
    family = _FAMILY.search(names[-1]) if names else None
    if family and file.endswith(_BY_FAMILY):
        return f"family {family[1]}"
    return file


@pytest.hookimpl(optionalhook=True)  # pytest-xdist may be absent.
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Returns what deals tests out to workers, by `_group`.

    Not by marks of groups: pytest-xdist 3.8 passes them on in the names of
    tests, which pytest 9.2 no longer lets it change.
    """
    from xdist.scheduler import LoadScopeScheduling

    # Files in the order of the tests, not those of many tests first.
    config.option.loadscopereorder = False
    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = _group
    return scheduler


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    optimisation.choose(
        item.get_closest_marker("full_optimisation") is not None,
        # One worker alone compiles what a family needs.
        keep=item.path.name not in _BY_FAMILY,
    )


@pytest.fixture(scope="module", autouse=True)
def _not_too_many_programs() -> Iterator[None]:
    """Frees compiled programs: each maps memory, and Linux limits the maps.

    Without it XLA's compiler crashes at some 65,000 maps (vm.max_map_count).
    Small programs are the same in many files, so they are kept up to there.
    """
    yield
    if _num_maps() > _MOST_MAPS:
        jax.clear_caches()


def _num_maps() -> int:
    """Returns how many ranges of memory this process maps."""
    try:
        with open("/proc/self/maps", "rb") as maps:
            return sum(1 for _ in maps)
    except OSError:
        return _MOST_MAPS + 1
