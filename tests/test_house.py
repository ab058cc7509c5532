"""The rules of the house: floors, sizes, names and documented parameters.

    python -m tests.test_house --list

prints all that breaks them, by folder.
"""

import ast
import collections
import functools
import pathlib
import re
import sys
from collections.abc import Iterator

from absl.testing import absltest, parameterized

_ROOT = pathlib.Path(__file__).parents[1]
_PACKAGE = _ROOT / "mmc_jax"

# From the ground up: a room imports from the floors below its own and from
# itself. `experiments` stands on top of all; `cli` and `__main__` lead there.
_FLOORS = (
    ("disk",),
    ("at_once", "dates", "early_stops", "lazy", "limits", "user_cache"),
    ("corpus", "pool", "hosts", "stages", "statistics"),
    ("models", "scores", "synthetic", "oracle"),
    ("catalogue", "exporters", "importers", "training", "scoring"),
    ("frontier",),
    ("law",),
    ("diversity",),
    ("realizable",),
    ("comparisons", "referee", "studies"),
    ("overviews",),
    ("report",),
    ("cli",),
    ("__main__",),
)
_FLOOR = {room: i for i, rooms in enumerate(_FLOORS) for room in rooms}
# It verifies what the rest computes, so it shares no code with it.
_ALONE = "certificate_checker"

_MOST_LINES = 400
_MOST_LINES_OF_A_FUNCTION = 80
_FEWEST_WORDS = 3

# Words that no module, class or function bears: readers do not know them. The
# standard terms are generalisation, integers, search error, resamples,
# selection bias.
_BANNED = frozenset(
    """
    chain flatter flattering flatters honest honesty luck lucky measures missed
    whole
    """.split()
)
# Names that say nothing alone, though longer names may hold them.
_BANNED_ALONE = frozenset(("draws", "mixtures", "part"))

# What breaks a rule: where it is, and how.
Fault = tuple[str, str]


def _files(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    """Yields each file's path below the root, and its syntax tree."""
    for folder in folders:
        yield from _trees(folder)


@functools.cache
def _trees(folder: str) -> list[tuple[str, ast.Module]]:
    """Returns what is yielded of a folder: no rule changes a tree."""
    return [
        (name, ast.parse(path.read_text(), name))
        for path in sorted((_ROOT / folder).rglob("*.py"))
        for name in [path.relative_to(_ROOT).as_posix()]
    ]


def _nodes(tree: ast.Module) -> list[ast.AST]:
    """Returns all nodes of a file, which each rule looks through."""
    if not hasattr(tree, "all_nodes"):
        tree.all_nodes = list(ast.walk(tree))
    return tree.all_nodes


def _imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yields line and dotted name of all that a file imports, anywhere."""
    for node in _nodes(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield (
                    node.lineno,
                    f"{'.' * node.level}{node.module}.{alias.name}",
                )


def _room(path: str) -> str:
    return pathlib.PurePath(path).with_suffix("").parts[1]


def imports_that_run_up() -> Iterator[Fault]:
    for path, tree in _files("mmc_jax"):
        room = _room(path)
        for line, name in _imports(tree):
            top, *below = name.split(".")
            at = f"{path}:{line}"
            if top in ("", "experiments", "tests"):
                yield at, f"imports {name}"
            if room == _ALONE and top in ("mmc_jax", "jax"):
                yield at, f"imports {name}, and shall stand alone"
            if top != "mmc_jax" or not below or room in (_ALONE, below[0]):
                continue
            if room == "__init__":
                if below[0] != "lazy":
                    yield at, f"imports {name} at once"
            elif _FLOOR[below[0]] >= _FLOOR[room]:
                yield at, f"imports {name}, which is not below {room}"


def long_files() -> Iterator[Fault]:
    """A longer file says in its opening words why it stays one file."""
    for suffix in ("py", "h", "cc"):
        for path in sorted(_PACKAGE.rglob(f"*.{suffix}")):
            text = path.read_text()
            num_lines = text.count("\n")
            if num_lines > _MOST_LINES and "one file" not in " ".join(
                text[:2000].split()
            ):
                name = path.relative_to(_ROOT).as_posix()
                yield name, f"{num_lines} lines; why does it stay one file?"


def long_functions() -> Iterator[Fault]:
    """Counts the lines of the body, without the docstring."""
    for path, tree in _files("mmc_jax", "experiments"):
        for node in _nodes(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = node.body[0]
                if ast.get_docstring(node) is not None:
                    first = node.body[min(1, len(node.body) - 1)]
                num_lines = node.end_lineno - first.lineno + 1
                if num_lines > _MOST_LINES_OF_A_FUNCTION:
                    yield (
                        f"{path}:{node.lineno}",
                        f"{node.name} has {num_lines} lines",
                    )


_DEFINITIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def _definitions(tree: ast.Module) -> Iterator[ast.AST]:
    for node in _nodes(tree):
        if isinstance(node, _DEFINITIONS):
            yield node


def modules_named_as_their_function() -> Iterator[Fault]:
    for path, tree in _files("mmc_jax"):
        stem = pathlib.PurePath(path).stem
        for node in tree.body:
            if getattr(node, "name", None) == stem:
                yield f"{path}:{node.lineno}", f"defines {stem}"


def banned_names() -> Iterator[Fault]:
    """Of modules, and of functions and classes that other files may use."""
    for path, tree in _files("mmc_jax", "experiments"):
        named = [(1, pathlib.PurePath(path).stem)]
        for body in (
            tree,
            *(n for n in tree.body if isinstance(n, ast.ClassDef)),
        ):
            named += [
                (node.lineno, node.name)
                for node in body.body
                if isinstance(node, _DEFINITIONS)
            ]
        for line, name in named:
            if name.startswith("_"):
                continue
            words = {
                word.lower() for word in re.findall(r"[A-Za-z][a-z]*", name)
            }
            alone = name.lower() in _BANNED_ALONE
            if alone or words & _BANNED:
                yield f"{path}:{line}", f"is called {name}"


def _parameters(docstring: str) -> Iterator[tuple[str, str]]:
    """Yields name and phrase of each entry under Args and Attributes."""
    entries: list[list[str]] = []
    inside = False
    for line in docstring.splitlines():
        indent = len(line) - len(line.lstrip())
        if indent == 0 and line.strip():
            inside = line.strip() in ("Args:", "Attributes:")
        elif inside and indent == 2:
            name, _, phrase = line.strip().partition(":")
            entries.append([name, phrase])
        elif inside and entries and line.strip():
            entries[-1][1] += " " + line.strip()
    for name, phrase in entries:
        yield name, phrase.strip()


def parameters_that_say_too_little() -> Iterator[Fault]:
    for path, tree in _files("mmc_jax", "experiments"):
        for node in (tree, *_definitions(tree)):
            docstring = ast.get_docstring(node) or ""
            for name, phrase in _parameters(docstring):
                at = f"{path}:{getattr(node, 'lineno', 1)}"
                if (
                    re.match(r"(Of|As|As for)\b", phrase)
                    or len(phrase.split()) < _FEWEST_WORDS
                ):
                    yield at, f"{name}: {phrase}"


def private_imports() -> Iterator[Fault]:
    """What programs use of the package that its users cannot."""
    for path, tree in _files("experiments"):
        ours = set()
        for line, name in _imports(tree):
            if not name.startswith("mmc_jax."):
                continue
            ours.add(name.rsplit(".", 1)[-1])
            if any(word.startswith("_") for word in name.split(".")):
                yield f"{path}:{line}", f"imports {name}"
        for node in _nodes(tree):
            if (
                isinstance(node, ast.Attribute)
                and re.match("_[^_]", node.attr)
                and isinstance(node.value, ast.Name)
                and node.value.id in ours
            ):
                yield f"{path}:{node.lineno}", f"{node.value.id}.{node.attr}"


RULES = (
    imports_that_run_up,
    long_files,
    long_functions,
    modules_named_as_their_function,
    banned_names,
    parameters_that_say_too_little,
    private_imports,
)


class HouseTest(parameterized.TestCase):
    @parameterized.named_parameters((rule.__name__, rule) for rule in RULES)
    def test_holds(self, rule):
        self.assertEmpty([f"{at}: {fault}" for at, fault in rule()])

    def test_each_room_has_a_floor(self):
        rooms = {
            path.stem
            for path in _PACKAGE.iterdir()
            if path.suffix == ".py" or (path / "__init__.py").exists()
        }
        self.assertEqual(rooms - {"__init__", _ALONE}, set(_FLOOR))

    def test_a_short_phrase_is_seen(self):
        docstring = "\n".join(
            (
                "Text.",
                "",
                "Args:",
                "  a: Of it.",
                "  b: The number",
                "    four.",
            )
        )
        self.assertEqual(
            list(_parameters(docstring)),
            [("a", "Of it."), ("b", "The number four.")],
        )


def _list() -> None:
    by_area = collections.defaultdict(list)
    for rule in RULES:
        for at, fault in rule():
            area = "/".join(at.split(":")[0].split("/")[:2])
            by_area[area].append(f"{rule.__name__}: {at}: {fault}")
    for area, faults in sorted(by_area.items()):
        print(f"\n## {area}: {len(faults)}")
        print("\n".join(faults))


if __name__ == "__main__":
    if sys.argv[1:] == ["--list"]:
        _list()
    else:
        absltest.main()
