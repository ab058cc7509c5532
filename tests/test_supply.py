"""What is installed and what is imported: licences, versions, no network."""

import ast
import importlib.metadata
import os
import pathlib
import re
import subprocess
import sys

from absl.testing import absltest

_ROOT = pathlib.Path(__file__).parents[1]
_NAME = re.compile(r"[A-Za-z0-9_-]+")

# Imports every module of the package and of the programs, in a process that has
# no sockets and may start no other process.
_IMPORT_ALL = """
import importlib, pathlib, socket, subprocess, sys

class Blocked(OSError):
    pass

def refuse(*_, **__):
    raise Blocked("a socket or a process at import")

import ctypes, platform
platform.processor()  # Asks the system, once, before all is blocked.
import jax
for name in ("connect", "connect_ex", "bind", "sendto"):
    setattr(socket.socket, name, refuse)
for name in ("create_connection", "getaddrinfo", "gethostbyname"):
    setattr(socket, name, refuse)
num = 0
for folder in ("mmc_jax", "experiments"):
    for path in sorted(pathlib.Path(folder).rglob("*.py")):
        parts = path.with_suffix("").parts
        if parts[-1] == "__main__":
            continue
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        from absl import flags
        # Two programs may define one flag.
        for flag in [f for f in flags.FLAGS if f not in KEPT] if num else []:
            delattr(flags.FLAGS, flag)
        if not num:
            KEPT = set(flags.FLAGS)
        if folder == "experiments":
            for module in [m for m in sys.modules if m.startswith(folder)]:
                del sys.modules[module]
        importlib.import_module(name)
        num += 1
print(num)
"""


def _requirements() -> dict[str, str]:
    """Returns each requirement of setup.py by its package's name."""
    tree = ast.parse((_ROOT / "setup.py").read_text())
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg in (
            "install_requires",
            "extras_require",
        ):
            value = ast.literal_eval(node.value)
            lists = value.values() if isinstance(value, dict) else [value]
            for requirement in (one for some in lists for one in some):
                found[_NAME.match(requirement)[0]] = requirement
    return found


def _listed() -> dict[str, str]:
    """Returns the licence of each package that third_party lists."""
    page = (_ROOT / "third_party/README.md").read_text()
    table = page.split("## Packages that are installed")[1]
    rows = re.findall(r"^\| ([\w-]+) \| .* \| (.*) \|$", table, re.MULTILINE)
    return {name: licence for name, licence in rows[2:]}


class SupplyTest(absltest.TestCase):
    def test_every_package_is_listed_with_its_licence(self):
        self.assertSameElements(_listed(), _requirements())

    def test_licences_are_those_of_the_packages(self):
        families = {"Apache": "Apache", "MIT": "MIT", "BSD": "BSD"}
        families |= {"MPL": "MPL|Mozilla", "PSF": "PSF|Python Software"}
        for name, licence in _listed().items():
            try:
                facts = importlib.metadata.metadata(name)
            except importlib.metadata.PackageNotFoundError:
                continue  # Of an extra that is not installed.
            said = " ".join(
                [
                    facts.get("License-Expression") or "",
                    facts.get("License") or "",
                    *(facts.get_all("Classifier") or ()),
                ]
            )
            pattern = next(
                names
                for family, names in families.items()
                if licence.startswith(family)
            )
            with self.subTest(name):
                self.assertRegex(said, pattern)

    def test_what_is_always_installed_has_a_lowest_version(self):
        """What `.ci/run --lowest` installs is said for each of them."""
        tree = ast.parse((_ROOT / "setup.py").read_text())
        (needed,) = (
            ast.literal_eval(node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.keyword) and node.arg == "install_requires"
        )
        for requirement in needed:
            with self.subTest(requirement):
                self.assertRegex(requirement, r"^[\w-]+>=[\d.]+$")

    def test_what_is_imported_is_listed(self):
        """What another package happens to bring may be gone tomorrow."""
        packages = {"absl": "absl-py", "faiss": "faiss-cpu", "yaml": "pyyaml"}
        packages |= {"google": "protobuf", "orbax": "orbax-checkpoint"}
        ours = {"mmc_jax", "experiments", *sys.stdlib_module_names}
        imported = set()
        for folder in ("mmc_jax", "experiments"):
            for path in (_ROOT / folder).rglob("*.py"):
                for node in ast.walk(ast.parse(path.read_text())):
                    if isinstance(node, ast.Import):
                        imported |= {alias.name for alias in node.names}
                    elif isinstance(node, ast.ImportFrom) and not node.level:
                        imported.add(node.module)
        tops = {name.partition(".")[0] for name in imported} - ours
        self.assertContainsSubset(
            {packages.get(top, top) for top in tops}, _requirements()
        )

    def test_imports_open_no_connection(self):
        done = subprocess.run(
            [sys.executable, "-c", _IMPORT_ALL],
            cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr[-3000:])
        self.assertGreater(int(done.stdout.split()[-1]), 200)

    def test_nothing_is_executed_from_data(self):
        """No unpickling, no eval, no code of a checkpoint."""
        forbidden = re.compile(
            r"(?<![\w.])(eval|exec)\(|pickle\.loads?\(|Unpickler|"
            r"allow_pickle=True|trust_remote_code=True|yaml\.(unsafe_)?load\("
            r"(?!.*_Loader)|torch\.load|joblib|cloudpickle|marshal\.load"
        )
        for folder in ("mmc_jax", "experiments"):
            for path in sorted((_ROOT / folder).rglob("*.py")):
                for number, line in enumerate(path.read_text().split("\n"), 1):
                    if forbidden.search(line):
                        self.fail(f"{path}:{number}: {line.strip()}")


if __name__ == "__main__":
    absltest.main()
