"""JAX for all tests: 8 virtual CPU devices, exact matmuls, strict dtypes.

Compiled programs are not kept: tests leave nothing in the user's cache.

Warnings are errors; each exception has its reason.
"""

from collections.abc import Iterator

import jax
import pytest

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_default_matmul_precision", "highest")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_enable_compilation_cache", False)

# Filters of warnings that are none of ours, each under its reason; such as
# "ignore:the message's beginning:DeprecationWarning:the_module".
_EXCEPTIONS = (
    # Orbax gives up a damaged entry while other reads of it are under way: they
    # end, in whatever test runs then, on an event loop that is closed.
    "ignore:Exception ignored in. None:pytest.PytestUnraisableExceptionWarning",
)


def pytest_configure(config: pytest.Config) -> None:
    for warning in ("error", *_EXCEPTIONS):
        config.addinivalue_line("filterwarnings", warning)


@pytest.fixture(scope="module", autouse=True)
def _programs_of_one_module() -> Iterator[None]:
    """Frees compiled programs: each maps memory, and Linux limits the maps.

    Without it XLA's compiler crashes at some 65,000 maps (vm.max_map_count).
    """
    yield
    jax.clear_caches()
