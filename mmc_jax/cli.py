"""`mmc <program>` starts a program of `experiments` from any folder.

The programs lie beside this package in a checkout and inside it (as
`mmc_jax.experiments`) after an installation. They are found by their path, so
that another folder named `experiments` hides nothing.
"""

import ast
import difflib
import importlib.util
import pathlib
import runpy
import sys

_PACKAGE = "mmc_jax.experiments"
_HELP = ("-h", "--help", "help")


def main() -> None:
    """Starts the program that the first argument names, or lists all."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in _HELP:
        try:
            print(_listing(), flush=True)
        except OSError as error:
            # A pipe such as `mmc | head` may be closed before the end.
            if not isinstance(error, BrokenPipeError):
                sys.exit(f"error: standard output: {error}")
        return
    name, *rest = arguments
    if name == "--version":
        import mmc_jax

        print(mmc_jax.__version__)
        return
    if name not in programs():
        near = difflib.get_close_matches(name, programs(), n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        sys.exit(f"error: there is no program {name!r}{meant} `mmc` lists all.")
    _load_package()
    # As `python -m` does; the program then says its own name in messages.
    sys.argv = [f"mmc {name}", *rest]
    runpy.run_module(f"{_PACKAGE}.{name}", run_name="__main__", alter_sys=True)


def programs() -> dict[str, str]:
    """Returns what each program does, in a line, by the program's name."""
    found = {}
    for path in sorted(_folder().glob("*.py")):
        source = path.read_text("utf-8")
        if "program.run(main)" in source:
            docstring = ast.get_docstring(ast.parse(source)) or ""
            found[path.stem] = docstring.partition("\n")[0]
    return found


def _listing() -> str:
    lines = programs()
    width = max(map(len, lines))
    return "\n".join(
        [
            "usage: mmc PROGRAM [--FLAG=VALUE ...]; mmc PROGRAM --help",
            "",
            *(f"{name:<{width}}  {line}" for name, line in lines.items()),
        ]
    )


def _folder() -> pathlib.Path:
    """Returns the folder of the programs."""
    package = pathlib.Path(__file__).parent
    for folder in (package / "experiments", package.parent / "experiments"):
        if (folder / "program.py").exists():
            return folder
    sys.exit(f"error: {package} comes without its programs; install it again")


def _load_package() -> None:
    """Puts the programs' package where imports find it."""
    folder = _folder()
    spec = importlib.util.spec_from_file_location(
        _PACKAGE,
        folder / "__init__.py",
        submodule_search_locations=[str(folder)],
    )
    package = importlib.util.module_from_spec(spec)
    sys.modules[_PACKAGE] = package
    spec.loader.exec_module(package)


if __name__ == "__main__":
    main()
