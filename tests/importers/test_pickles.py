"""Pickles of plain data are read; all that would run something is refused."""

import collections
import pathlib
import pickle
import struct
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax.importers import pickles


class _Call:
    def __init__(self, function, *arguments):
        self._made_of = function, arguments

    def __reduce__(self):
        return self._made_of


def _halves(n):
    return np.arange(n) / 2


class PicklesTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        folder = self.enterContext(tempfile.TemporaryDirectory())
        self.path = pathlib.Path(folder) / "a.pkl"

    def _read(self, raw):
        self.path.write_bytes(raw)
        return pickles.plain(self.path)

    @parameterized.product(
        protocol=tuple(range(6)),
        dtype=("<f8", ">f8", "<f4", "<f2", "<i8", "|u1", "|b1"),
    )
    def test_arrays(self, protocol, dtype):
        array = _halves(12).astype(dtype).reshape(3, 4)
        for order in "CF":
            stored = np.asarray(array, order=order)
            found = self._read(pickle.dumps({"a": [stored]}, protocol))
            np.testing.assert_array_equal(found["a"][0], array)
            self.assertEqual(found["a"][0].dtype, array.dtype)

    @parameterized.parameters(0, 1, 2, 3, 4, 5)
    def test_plain(self, protocol):
        content = [
            {"é": 1, "b": -(2**40), 3: 0.5, "n": None},
            ["x", True, False, (), (1, (2, "y")), [], {}],
            {"a", 1},
            frozenset(["b"]),
            "same",
            "same",
        ]
        self.assertEqual(self._read(pickle.dumps(content, protocol)), content)
        scalar = self._read(pickle.dumps([np.float64(0.1)], protocol))
        self.assertEqual(scalar, [0.1])

    @parameterized.named_parameters(
        ("system", _Call(__import__("os").system, "true"), "posix.system"),
        ("eval", _Call(eval, "1"), "builtin.*eval"),
        ("open", _Call(open, "/dev/null"), "io.open"),
        ("ordered", collections.OrderedDict(a=1), "collections.OrderedDict"),
        ("path", pathlib.PurePosixPath("a"), "PurePosixPath"),
        ("load", _Call(np.load, "a.npy"), "numpy.load"),
        ("complex", [1j], "builtin.*complex"),
    )
    def test_calls_are_refused_by_name(self, thing, name):
        for protocol in (0, 2, 4):
            with self.assertRaisesRegex(ValueError, f"calls .*{name}"):
                self._read(pickle.dumps({"a": thing}, protocol))

    def test_arrays_of_strings(self):
        for protocol in (0, 2, 4):
            for array in (
                np.array(["ab", "é"]),
                np.array(["ab", "é"], object),
                np.array([], object),
            ):
                read = self._read(pickle.dumps(array, protocol))
                self.assertEqual(read.tolist(), array.tolist())

    @parameterized.named_parameters(
        ("objects", pickle.dumps(np.array([1, "a"], object)), "numbers alone"),
        ("bytes", pickle.dumps(np.array([b"a"])), "numbers alone"),
        (
            "lists",
            pickle.dumps(np.array([[1], "a"], object)),
            "numbers alone",
        ),
        ("records", pickle.dumps(np.zeros(2, "f8,i4")), "numbers alone"),
        ("persistent", b"\x80\x04Q.", "damaged|BINPERSID"),
        ("named persistent", b"Pa\n.", "PERSID"),
        ("extension", b"\x80\x02\x82\x01.", "EXT1"),
        ("instance", b"(ios\nsystem\n.", "INST"),
        ("a set of lists", b"\x80\x04\x8f(]\x90.", "no string or number"),
        ("nothing", b"", "damaged"),
        ("text", b"version https://git-lfs", "damaged"),
        ("cut", pickle.dumps(list(range(300)))[:200], "damaged"),
        ("no stack", b"\x80\x04a.", "damaged"),
        ("no mark", b"\x80\x04]e.", "damaged"),
        ("memo", b"\x80\x04h\x05.", "damaged"),
        ("array as function", b"\x80\x04]]R.", "unknown arguments"),
        ("state of a list", b"\x80\x04]}b.", "something plain"),
        ("a list as key", b"\x80\x04}])s.", "damaged|a key"),
    )
    def test_what_is_not_plain_is_refused(self, raw, message):
        with self.assertRaisesRegex(ValueError, message):
            self._read(raw)

    def test_bombs_end_soon(self):
        # A length, a place and a shape beyond the file.
        length = b"\x80\x04\x8e" + struct.pack("<Q", 2**60)
        with self.assertRaisesRegex(ValueError, "damaged"):
            self._read(length + b"x.")
        place = b"\x80\x04]r" + struct.pack("<I", 2**32 - 1) + b"."
        self.assertEqual(self._read(place), [])
        large = pickle.dumps(np.zeros(3), 2)
        self.assertEqual(large.count(b"K\x03\x85"), 1)
        large = large.replace(
            b"K\x03\x85", b"\x8a\x06" + b"\xff" * 5 + b"\x00\x85"
        )
        with self.assertRaisesRegex(ValueError, "an array of shape"):
            self._read(large)

    def test_deep_nesting(self):
        # Hashing such a tuple would end the process.
        deep = b"\x80\x04})" + b"\x85" * 200_000 + b"Ns."
        with self.assertRaisesRegex(ValueError, "a key"):
            self._read(deep)

    def test_nothing_of_numpy_can_be_changed(self):
        raw = b"\x80\x02cnumpy\nndarray\nq\x00}U\x01ANsb."
        with self.assertRaisesRegex(ValueError, "something plain"):
            self._read(raw)
        for raw in (
            b"\x80\x02cnumpy\nndarray\n.",
            b"\x80\x02]cnumpy\ndtype\na.",
        ):
            with self.assertRaisesRegex(ValueError, "as a value"):
                self._read(raw)


if __name__ == "__main__":
    absltest.main()
