"""Installs mmc_jax; the experiments run from a checkout of the repository."""

import pathlib

import setuptools

setuptools.setup(
    name="mmc_jax",
    version="0.1.0",
    description="A JAX engine for the Law of Multi-Model Collaboration",
    long_description=pathlib.Path(__file__).with_name("README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=setuptools.find_packages(include=["mmc_jax", "mmc_jax.*"]),
    package_data={"mmc_jax": ["pools/*.yaml", "pools/*/*", "pools/*/*/*"]},
    install_requires=[
        "absl-py",
        "flax>=0.12.8",
        "huggingface_hub",
        "jax>=0.10",
        "matplotlib",
        "numpy>=2",
        "optax>=0.2.8",
        "orbax-checkpoint>=0.12",
        "pyarrow",
        "pyyaml",
        "safetensors>=0.8",
        "scipy",
        "tokenizers",
        "tqdm",
        "transformers>=5.23",
    ],
    extras_require={
        # This torch is a CPU build; a plain `torch` brings gigabytes of CUDA.
        "test": ["pytest>=9", "torch==2.13.0"],
        "dev": ["pre-commit", "ruff==0.17.5"],
        "datasets": ["datasets"],
    },
)
