"""What all programs share: flags, `mmc`, --help, last words."""

import contextlib
import importlib
import inspect
import io
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
from unittest import mock

from absl import flags
from absl.testing import absltest, parameterized

import experiments
import mmc_jax
from experiments import choices, program, shared_flags
from experiments.benchmarks import scoring_speed
from experiments.recipes import trained
from mmc_jax import (
    __main__,
    cli,
    diversity,
    early_stops,
    exporters,
    importers,
    law,
    scores,
    studies,
)
from mmc_jax.oracle import backends
from mmc_jax.realizable import granularities
from mmc_jax.scoring import settings

_ROOT = pathlib.Path(__file__).parents[2]

# What no program needs to say its flags.
_HEAVY = (
    "flax",
    "jax",
    "matplotlib",
    "optax",
    "orbax",
    "pyarrow",
    "scipy",
    "tokenizers",
    "torch",
    "transformers",
)

# Says the flags of every program, in one process, and what that has imported.
_ALL_FLAGS = """
import importlib, sys
from absl import flags
from mmc_jax import cli
own = set(flags.FLAGS)
for name in cli.programs():
    for flag in set(flags.FLAGS) - own:
        delattr(flags.FLAGS, flag)
    for module in [m for m in sys.modules if m.startswith("mmc_jax.exp")]:
        del sys.modules[module]
    cli._load_package()
    importlib.import_module("mmc_jax.experiments." + name)
    print("program", name)
    for flag in sorted(set(flags.FLAGS) - own):
        print("flag", name, flag, flags.FLAGS[flag].help.replace("\\n", " "))
for module in sorted(sys.modules):
    print("module", module)
"""


def _python(*arguments, folder=_ROOT, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": str(_ROOT),
            **environment,
        },
        check=False,
    )


class HelpTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        said = _python("-c", _ALL_FLAGS)
        assert not said.returncode, said.stderr
        cls.lines = [line.split(" ", 3) for line in said.stdout.splitlines()]

    def test_flags_need_no_library(self):
        """--help of any program imports nothing heavy."""
        modules = {line[1] for line in self.lines if line[0] == "module"}
        self.assertIn("mmc_jax.cli", modules)
        for name in _HEAVY:
            self.assertNotIn(name, modules)

    def test_one_meaning_a_flag(self):
        """A flag of several programs says the same in each, or nearly."""
        texts = {}
        for kind, *rest in self.lines:
            if kind == "flag":
                _, flag, text = rest
                texts.setdefault(flag, set()).add(text)
        several = {flag for flag, said in texts.items() if len(said) > 1}
        # What is random, timed or counted is another thing in each program.
        self.assertLessEqual(
            several,
            {
                # Score tables, or studies.
                "a",
                "b",
                "max_size",
                "noise",
                "num_models",
                "num_points",
                "num_sets",
                "num_texts",
                # Of report, a page in place of a folder.
                "out",
                "points",
                "time_limit",
            },
        )

    def test_every_flag_has_a_phrase(self):
        for kind, *rest in self.lines:
            if kind == "flag":
                program, flag, text = rest
                with self.subTest(program=program, flag=flag):
                    self.assertNotRegex(text, "^(Of|As) ")
                    self.assertGreater(len(text.split()), 2)

    def test_every_shared_flag_is_in_the_table(self):
        programs = {}
        for kind, *rest in self.lines:
            if kind == "flag":
                programs.setdefault(rest[1], set()).add(rest[0])
        page = (_ROOT / "experiments/README.md").read_text()
        shared = {flag for flag, of in programs.items() if len(of) > 1}
        self.assertEmpty({f for f in shared if f"`--{f}`" not in page})

    def test_every_program_is_in_the_table(self):
        page = (_ROOT / "experiments/README.md").read_text()
        self.assertEmpty(
            {p for p in cli.programs() if f"| `{p}` |" not in page}
        )


class ChoicesTest(absltest.TestCase):
    def test_are_those_of_the_library(self):
        self.assertEqual(choices.NORMALISATIONS, tuple(scores.NORMALISATIONS))
        self.assertEqual(choices.FORMATS, tuple(importers.FORMATS))
        self.assertEqual(choices.VALUES, tuple(importers.VALUES))
        self.assertEqual(choices.LAYOUTS, exporters.LAYOUTS)
        self.assertEqual(choices.MISSING, importers.MISSING)
        self.assertEqual(choices.METHODS, tuple(studies.METHODS))
        self.assertEqual(choices.ORACLE_BACKENDS, backends.NAMES)
        self.assertEqual(choices.GROUPINGS, diversity.GROUPINGS)
        self.assertEqual(choices.FORMS, law.ONE_BUDGET)
        self.assertEqual(choices.GRANULARITIES, granularities.KINDS)
        self.assertEqual(choices.HUBER_DELTA, law.HUBER_DELTA)
        self.assertEqual(choices.SHAPES, tuple(scoring_speed.SHAPES))
        self.assertEqual(choices.STUDIES, tuple(trained.STUDIES))
        self.assertEqual(choices.DTYPES, settings.DTYPES)
        self.assertEqual(choices.PREFIXES, settings.PREFIXES)


class FlagsTest(parameterized.TestCase):
    def _parsed(self, define, argument):
        values = flags.FlagValues()
        name = define(values)
        values(["program", f"--{name}={argument}"])
        return values[name].value

    def _path(self, argument):
        def define(values):
            parser = shared_flags._PathParser()
            flags.DEFINE(parser, "p", None, "", flag_values=values)
            return "p"

        return self._parsed(define, argument)

    def test_paths(self):
        home = os.path.expanduser("~")
        self.assertEqual(self._path("~/x"), f"{home}/x")
        self.assertEqual(self._path("gs://b/~x"), "gs://b/~x")
        self.assertEqual(self._path("a/~"), "a/~")
        with self.assertRaisesRegex(flags.Error, "no user ~nobody_here"):
            self._path("~nobody_here/x")

    def test_lists(self):
        def define(values):
            parser = shared_flags._ListParser(flags.IntegerParser(1))
            flags.DEFINE(parser, "n", None, "", flag_values=values)
            return "n"

        self.assertEqual(self._parsed(define, "3,1, 20"), [3, 1, 20])
        self.assertEqual(self._parsed(define, ""), [])
        for wrong in ("0", "1,x", "2.5"):
            with self.assertRaises(flags.Error):
                self._parsed(define, wrong)

    @parameterized.parameters(("2x4", (2, 4)), ("x4", (None, 4)))
    def test_mesh(self, text, sizes):
        self.assertEqual(shared_flags._MeshParser().parse(text), text)
        self.assertEqual(shared_flags.mesh_sizes(text), sizes)

    @parameterized.parameters("8", "0x4", "2x", "2x0", "2*4", "")
    def test_no_mesh(self, text):
        with self.assertRaisesRegex(ValueError, "such as 2x4"):
            shared_flags._MeshParser().parse(text)


# Programs that a signal meets in their own instructions, beside a thread that
# goes on, in compiled code, while they free an object, and while they end.
_AT_WORK = """
    os.kill(os.getpid(), signal.{name})
    time.sleep(60)
"""
_BESIDE_A_THREAD = """
    pool = concurrent.futures.ThreadPoolExecutor(1)
    pool.submit(time.sleep, 60)
    os.kill(os.getpid(), signal.{name})
    time.sleep(60)
"""
_IN_COMPILED_CODE = """
    stops._COMING_BACK = 0.1
    threading.Timer(0.2, os.kill, (os.getpid(), signal.{name})).start()
    # Signals do not reach the main thread while it waits here.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
    ctypes.CDLL(None).sleep(60)
"""
_SECOND_ONE = """
    try:
        os.kill(os.getpid(), signal.{name})
        time.sleep(60)
    finally:
        os.kill(os.getpid(), signal.{name})
        time.sleep(60)
"""
_DROPPED = """
    class Freed:
        def __del__(self):
            os.kill(os.getpid(), signal.{name})
            time.sleep(60)
    Freed()
    time.sleep(60)
"""
_FAILS_MEANWHILE = """
    try:
        os.kill(os.getpid(), signal.{name})
        time.sleep(60)
    finally:
        raise ValueError("of the interrupt")
"""
_WORK_IS_OVER = """
    def at_the_end():
        os.kill(os.getpid(), signal.{name})
        time.sleep(60)
    atexit.register(at_the_end)
"""
_TWO_LINES = (
    "\ninterrupted: finished work is kept\n"
    "the same command goes on from there\n"
)


class StopTest(parameterized.TestCase):
    @parameterized.parameters(
        (_AT_WORK, "SIGTERM", 143),
        (_BESIDE_A_THREAD, "SIGINT", 130),
        (_IN_COMPILED_CODE, "SIGINT", 130),
        (_SECOND_ONE, "SIGTERM", 143),
        (_DROPPED, "SIGTERM", 143),
        (_FAILS_MEANWHILE, "SIGINT", 130),
        (_WORK_IS_OVER, "SIGINT", 130),
    )
    def test_two_lines_and_an_exit_code(self, source, name, code):
        done = _python(
            "-c",
            "import atexit, concurrent.futures, ctypes, os, signal\n"
            "import threading, time\n"
            "from experiments import program, stops\n"
            f"def main():\n{source.format(name=name)}\n"
            "program.run(main)\n",
        )
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertEqual(done.stderr, _TWO_LINES)

    def test_what_is_said_before_is_not_lost(self):
        done = _python(
            "-c",
            "from experiments import program\n"
            "def main():\n"
            "    print('some words', end='')\n"
            "    raise KeyboardInterrupt('3 of 5 models are done')\n"
            "program.run(main)\n",
        )
        self.assertEqual(done.stdout, "some words")
        self.assertIn("interrupted: 3 of 5 models are done", done.stderr)


class EarlyStopTest(parameterized.TestCase):
    @parameterized.parameters(("-m", 1), ("/bin/pytest", 0))
    def test_programs_watch_before_their_own_imports(self, argument, num):
        """Whoever imports one for its functions keeps signals as they were."""
        with (
            mock.patch.object(early_stops, "watch") as watch,
            mock.patch.object(sys, "argv", [argument]),
        ):
            importlib.reload(experiments)
        self.assertEqual(watch.call_count, num)

    def test_mmc_watches_first(self):
        with (
            mock.patch.object(early_stops, "watch") as watch,
            mock.patch.object(cli, "main", watch.assert_called_once_with),
        ):
            __main__.main()
        self.assertIn("mmc_jax.__main__:main", (_ROOT / "setup.py").read_text())

    def test_imports_next_to_nothing(self):
        source = pathlib.Path(early_stops.__file__).read_text()
        names = re.findall(r"^ *(?:import|from) (\w+)", source, re.MULTILINE)
        self.assertEqual(names, ["contextlib", "os", "signal", "sys"])

    def test_a_signal_ends_the_process(self):
        for number in early_stops.EXIT_CODES:
            handler = signal.getsignal(number)
            self.addCleanup(signal.signal, number, handler)
        early_stops.watch()
        with (
            mock.patch.object(os, "_exit") as ended,
            contextlib.redirect_stderr(io.StringIO()) as said,
        ):
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)  # Says nothing more.
        ended.assert_called_once_with(143)
        self.assertEqual(said.getvalue(), _TWO_LINES)


class ThreadsTest(absltest.TestCase):
    def test_a_machine_that_starts_no_more(self):
        start, started = threading.Thread.start, []

        def start_few(thread):
            if len(started) == 3:
                raise RuntimeError("can't start new thread")
            started.append(thread)
            start(thread)

        with (
            mock.patch.object(threading.Thread, "start", start_few),
            self.assertRaisesRegex(SystemExit, "new thread: 3 more are all"),
        ):
            program._check_threads()
        self.assertFalse(any(thread.is_alive() for thread in started))

    def test_the_end_comes_before_libraries_are_taken_apart(self):
        """Of exit codes and words nothing is lost."""
        for work, code in (("exit(0)", 0), ("raise ValueError('bad')", 1)):
            done = _python(
                "-c",
                "import atexit, os\n"
                "from experiments import program\n"
                "class Freed:\n"
                "    def __del__(self):\n"
                "        os._exit(77)\n"
                "kept = Freed()\n"
                "def main():\n"
                "    atexit.register(print, 'at exit', end='')\n"
                f"    {work}\n"
                "program.run(main)\n",
            )
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertEqual(done.stdout, "at exit")
            self.assertEqual(done.stderr, "error: bad\n" if code else "")


class MmcTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        # A folder as users have it: with experiments of their own.
        self.folder = pathlib.Path(tempfile.mkdtemp())
        (self.folder / "experiments").mkdir()
        (self.folder / "experiments/__init__.py").touch()
        (self.folder / "experiments/program.py").write_text("raise OSError")

    def _mmc(self, *arguments, **environment):
        return _python(
            "-m", "mmc_jax", *arguments, folder=self.folder, **environment
        )

    def test_lists_programs(self):
        listed = self._mmc()
        self.assertEqual(listed.returncode, 0, listed.stderr)
        self.assertRegex(listed.stdout, "(?m)^score_texts +Scores texts")
        for path in (_ROOT / "experiments").glob("*.py"):
            self.assertEqual(
                f"\n{path.stem} " in listed.stdout,
                'if __name__ == "__main__"' in path.read_text(),
            )

    def test_starts_a_program(self):
        (self.folder / "scores.csv").write_text("text_id,a\n1,2.5\n2,3.5\n")
        (self.folder / "models.csv").write_text(
            "model,family,num_params\na,f,7\n"
        )
        done = self._mmc(
            "import_scores",
            "--input=scores.csv",
            "--models=models.csv",
            "--value=raw",
            "--out=~/scores",
            HOME=str(self.folder),
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue((self.folder / "scores/corpus.parquet").exists())
        self.assertFalse((self.folder / "~").exists())

    def test_the_program_s_own_help(self):
        said = self._mmc("trace_subsets", "--help")
        self.assertIn("Every subset of a few models", said.stdout)
        self.assertIn("--only_models", said.stdout)

    def test_after_an_installation(self):
        """The programs lie in the package, and nowhere else."""
        built = self.folder / "built"
        done = _python("setup.py", "-q", "build_py", "-d", str(built))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual([p.name for p in built.iterdir()], ["mmc_jax"])
        environment = {"PYTHONPATH": str(built)}
        listed = self._mmc(**environment)
        self.assertIn("score_texts", listed.stdout)
        said = self._mmc("trace_subsets", "--help", **environment)
        self.assertIn(str(built / "mmc_jax/experiments"), said.stdout)

    def test_unknown(self):
        failed = self._mmc("score_text")
        self.assertEqual(failed.returncode, 1)
        self.assertIn("did you mean score_texts?", failed.stderr)

    def test_version(self):
        said = self._mmc("--version")
        self.assertEqual(said.stdout.strip(), mmc_jax.__version__)


class PackageTest(absltest.TestCase):
    def test_submodules_are_imported_on_first_use(self):
        said = _python(
            "-c",
            "import mmc_jax, sys; before = len(sys.modules);"
            "assert 'jax' not in sys.modules; mmc_jax.pool.shipped();"
            "from mmc_jax import frontier; assert 'jax' in sys.modules;"
            "assert frontier is mmc_jax.frontier",
        )
        self.assertEqual(said.returncode, 0, said.stderr)

    def test_no_such_submodule(self):
        with self.assertRaisesRegex(AttributeError, "'no_such_thing'"):
            _ = mmc_jax.no_such_thing
        for name in mmc_jax.__all__:
            self.assertTrue(inspect.ismodule(getattr(mmc_jax, name)))


if __name__ == "__main__":
    absltest.main()
