"""Installs mmc_jax and its programs.

The C++ kernels of `mmc_jax/oracle/native` are compiled where that works. Where
it does not, nothing is missing: XLA computes in their place, more slowly.
"""

import ast
import concurrent.futures
import itertools
import os
import pathlib
import platform
import shlex
import sys

import setuptools
from setuptools.command.build_ext import build_ext

_HERE = pathlib.Path(__file__).parent
_NATIVE = pathlib.Path("mmc_jax/oracle/native")

# Each level is compiled for its own instructions, and chosen at run time.
_FLAGS = {
    "avx512.cc": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl"],
    "avx2.cc": ["-mavx2"],
    "baseline.cc": [],
    "neon.cc": [],
    "ffi.cc": [],
    "dispatch.cc": [],
}


class BuildNative(build_ext):
    """Compiles the kernels, and goes on without them where that fails."""

    def build_extension(self, ext: setuptools.Extension) -> None:
        """Compiles each source with its flags and links them together."""
        try:
            self._build(ext)
        # Whatever stands in the way: no compiler, no headers, old flags.
        except Exception as error:
            print(
                "mmc_jax: the C++ kernels were not compiled "
                f"({type(error).__name__}: {error}). The package works without "
                "them: XLA computes in their place, some five times slower.",
                file=sys.stderr,
            )

    def _build(self, ext: setuptools.Extension) -> None:
        # XLA's headers come with jaxlib.
        import jaxlib

        headers = pathlib.Path(jaxlib.__file__).parent / "include"
        if not headers.exists():
            raise FileNotFoundError(headers)

        def compiled(source: str) -> list[str]:
            flags = _FLAGS[pathlib.Path(source).name]
            if sys.platform == "darwin":
                # One call may compile for both kinds of Mac.
                flags = [
                    part for flag in flags for part in ("-Xarch_x86_64", flag)
                ]
            return self.compiler.compile(
                [source],
                output_dir=self.build_temp,
                include_dirs=[str(headers)],
                extra_postargs=[
                    *("-std=c++17", "-O3", "-g0", "-w"),
                    *flags,
                    # The last word: tests/oracle/sanitized.sh gives some.
                    *shlex.split(os.environ.get("CXXFLAGS", "")),
                ],
            )

        # Before the threads, which would otherwise make it at the same time.
        os.makedirs(os.path.join(self.build_temp, _NATIVE), exist_ok=True)
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as threads:
            parts = threads.map(compiled, ext.sources)
            objects = list(itertools.chain.from_iterable(parts))
        path = self.get_ext_fullpath(ext.name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self.compiler.link_shared_object(
            objects, path, extra_postargs=["-pthread"], target_lang="c++"
        )


def _extension() -> setuptools.Extension:
    sources = list(_FLAGS)
    if sys.platform != "darwin":
        x86 = platform.machine().lower() in ("x86_64", "amd64")
        sources = [s for s in sources if x86 or not s.startswith("avx")]
    return setuptools.Extension(
        "mmc_jax.oracle._native",
        [str(_NATIVE / source) for source in sources],
        depends=sorted(map(str, _NATIVE.glob("*.h"))),
        optional=True,
    )


def _version() -> str:
    """Returns what `mmc_jax.__version__` will be; nothing is imported."""
    tree = ast.parse(_HERE.joinpath("mmc_jax/__init__.py").read_text())
    return next(
        node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "__version__"
    )


setuptools.setup(
    name="mmc_jax",
    version=_version(),
    description="A JAX engine for the Law of Multi-Model Collaboration",
    long_description=_HERE.joinpath("README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[
        *setuptools.find_packages(include=["mmc_jax", "mmc_jax.*"]),
        *(
            f"mmc_jax.{name}"
            for name in setuptools.find_packages(
                include=["experiments", "experiments.*"]
            )
        ),
    ],
    # The programs are installed inside the package: `mmc <program>`.
    package_dir={"mmc_jax.experiments": "experiments"},
    entry_points={"console_scripts": ["mmc = mmc_jax.__main__:main"]},
    package_data={
        "mmc_jax": [
            "models/*.yaml",
            "pools/*.yaml",
            "pools/*/*",
            "pools/*/*/*",
            "report/page/assets/*",
            "score_tables/*/*",
            "score_tables/*/*/*",
        ]
    },
    ext_modules=[_extension()],
    cmdclass={"build_ext": BuildNative},
    install_requires=[
        "absl-py>=2.3",
        "flax>=0.12.8",
        "huggingface_hub>=1.31",
        "jax>=0.10",
        "matplotlib>=3.11",
        "numpy>=2.2",
        "optax>=0.2.8",
        "orbax-checkpoint>=0.12",
        "protobuf>=5.26",
        "pyarrow>=21",
        "pyyaml>=6.0.1",
        "safetensors>=0.8",
        "scipy>=1.15",
        "sentencepiece>=0.2",
        "tokenizers>=0.23.2",
        "tqdm>=4.67",
        "transformers>=5.23",
    ],
    extras_require={
        # This torch is a CPU build; a plain `torch` brings gigabytes of CUDA.
        "bench": ["faiss-cpu", "numba", "torch==2.13.0"],
        "test": [
            "gguf>=0.17",
            "hypothesis>=6.138",
            "pytest>=9.1",
            "pytest-xdist>=3.6.1",
            "torch==2.13.0",
        ],
        "dev": ["pre-commit", "ruff==0.17.5"],
        "datasets": ["datasets"],
        "gguf": ["gguf>=0.17"],
        "excel": ["openpyxl"],
    },
)
