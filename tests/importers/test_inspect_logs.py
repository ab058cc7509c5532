import io
import json
import pathlib
import struct
import tempfile
import warnings
import zipfile
import zlib

import numpy as np
import pyarrow as pa
from absl.testing import absltest, parameterized

from mmc_jax import importers
from mmc_jax.importers import archives, inspect_logs
from mmc_jax.importers.frame import Options

_TEXTS = ("Zürich", "two words")


def _score(i, nll):
    return {
        "value": nll / (i + 2),
        "metadata": {"num_tokens": i + 2, "sum_log_probs": -nll},
    }


def _sample(i, scores, epoch=1, **more):
    sample = {"id": i, "epoch": epoch, "input": _TEXTS[i], "target": ""}
    return {**sample, "scores": scores, **more}


def _header(
    model="hf/org/a", task="wiki", created="2025-01-02T03:04:05Z", **more
):
    run = {"model": model, "task": task, "created": created}
    return {"version": 2, "status": "success", "eval": run, **more}


class InspectLogsTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(
            self.enterContext(tempfile.TemporaryDirectory())
        )

    def _write(self, name, header, samples, compression=zipfile.ZIP_DEFLATED):
        path = self.folder / name
        with zipfile.ZipFile(path, "w", compression) as archive:
            archive.writestr("_journal/start.json", "{}")
            for sample in samples:
                member = f"samples/{sample['id']}_epoch_{sample['epoch']}.json"
                archive.writestr(member, json.dumps(sample))
            if header:
                archive.writestr("header.json", json.dumps(header))
        return path

    def _read(self, value=None, **options):
        return inspect_logs.read(self.folder, Options(value=value, **options))

    def test_likelihoods(self):
        for model, shift in (("hf/org/a", 0.0), ("vllm/org/b", 1.0)):
            self._write(
                f"{model[-1]}.eval",
                _header(model),
                [
                    _sample(i, {"perplexity": _score(i, 5.0 * i + 1 + shift)})
                    for i in (1, 0)
                ],
            )
        self.assertEqual(importers.detected(self.folder), "inspect")
        table = importers.read(self.folder, Options()).table
        self.assertEqual([m.name for m in table.models], ["org/a", "org/b"])
        np.testing.assert_array_equal(table.nll_nats, [[1, 6], [2, 7]])
        self.assertEqual(table.texts.num_bytes.tolist(), [7, 9])
        self.assertEqual(table.num_tokens.tolist(), [[2, 3]] * 2)
        self.assertEqual(table.unit, "nll_nats")

    def test_a_damaged_log_beside_others_is_named(self):
        samples = [_sample(0, {"perplexity": _score(0, 2.0)})]
        self._write("a.eval", _header(), samples)
        (self.folder / "b.json").write_text('{"version": 2, "sta')
        with self.assertLogs("absl", "WARNING") as said:
            self.assertLen(self._read().models, 1)
        self.assertRegex(str(said), "left out, .* Inspect do: b.json")

    def test_two_samples_of_one_id(self):
        first = _sample(0, {"match": {"value": "C"}})
        for second, message in (
            ({**first, "input": "x", "epoch": 2}, "another input than in"),
            ({**first, "id": "0"}, "the epoch 1 of this id stands there twice"),
        ):
            log = _header(samples=[{**first, "id": 0}, second])
            (self.folder / "a.json").write_text(json.dumps(log))
            with self.assertRaisesRegex(ValueError, f"sample 2: {message}"):
                self._read("match")

    def test_ids_of_messages_are_drawn_anew(self):
        for epoch, drawn in ((1, "Xy"), (2, "Zw")):
            message = {"id": drawn, "role": "user", "content": "Is 7 prime?"}
            sample = _sample(0, {"match": {"value": "C"}}, epoch)
            self._write(
                f"{drawn}.eval",
                _header(f"hf/{drawn}"),
                [{**sample, "epoch": 1, "input": [message]}],
            )
        self.assertEqual(self._read("match").values.tolist(), [[1], [1]])

    def test_accuracy_over_epochs(self):
        samples = [
            _sample(0, {"match": {"value": "C"}}, 1),
            _sample(0, {"match": {"value": "I"}}, 2),
            _sample(1, {"match": {"value": "P"}}, 1),
            _sample(1, {}, 2, error={"message": "x"}),
        ]
        self._write("a.eval", _header(), samples)
        for value in ("accuracy", "match"):
            found = self._read(value)
            np.testing.assert_array_equal(found.values, [[0.5, 0.5]])
            self.assertEqual(found.unit, "score")

    def test_json_log(self):
        samples = [_sample(0, {"perplexity": _score(0, 2.0)})]
        content = {**_header(), "samples": samples}
        (self.folder / "a.json").write_text(json.dumps(content))
        np.testing.assert_array_equal(self._read().values, [[2.0]])

    def test_logs_without_success(self):
        samples = [_sample(0, {"perplexity": _score(0, 2.0)})]
        self._write("b.eval", {**_header(), "status": "error"}, samples)
        self._write("c.eval", None, samples)
        self._write("d.eval", _header(invalidated=True), samples)
        with self.assertRaisesRegex(ValueError, "no log .* with success"):
            self._read()
        self._write("a.eval", _header(), samples)
        with self.assertLogs("absl", "WARNING") as logged:
            found = self._read()
        np.testing.assert_array_equal(found.values, [[2.0]])
        self.assertIn("b.eval (error), c.eval (started), d.", logged.output[0])

    def test_latest_run(self):
        for day, nll in ((1, 1.0), (2, 2.0)):
            self._write(
                f"{day}.eval",
                _header(created=f"2025-01-0{day}T00:00:00Z"),
                [_sample(0, {"perplexity": _score(0, nll)})],
            )
        np.testing.assert_array_equal(self._read().values, [[2.0]])
        found = self._read(run="2025-01-01")
        np.testing.assert_array_equal(found.values, [[1.0]])

    @parameterized.named_parameters(
        ("no scorer", "includes", {"value": 1}, "no scorer 'includes'"),
        (
            "a dict",
            "match",
            {"value": {"a": 1}},
            "match.value: .* not a number",
        ),
        ("a word", "match", {"value": "maybe"}, "'maybe' is not a number"),
        ("percent", "match", {"value": 70}, "say --higher_is_better"),
        ("unsaid", None, {"value": 1}, "say what to read: .*match"),
    )
    def test_faults(self, value, score, message):
        self._write("a.eval", _header(), [_sample(0, {"match": score})])
        with self.assertRaisesRegex(ValueError, message):
            self._read(value)

    def test_unscored(self):
        scores = {"perplexity": {"value": None, "reason": "scoring_failed"}}
        samples = [
            _sample(0, {"perplexity": _score(0, 1.0)}),
            _sample(1, scores),
        ]
        self._write("a.eval", _header(), samples)
        self.assertEqual(self._read("rolling").values.shape, (1, 1))

    @parameterized.parameters(
        "../a_epoch_1.json",
        "samples/../../a_epoch_1.json",
        "/etc/a.json",
        "C:/a.json",
    )
    def test_members_outside_are_refused(self, name):
        path = self._write("a.eval", _header(), [])
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(zipfile.ZipInfo(name), "{}")
        with self.assertRaisesRegex(ValueError, "leads outside the archive"):
            self._read("rolling")

    def test_an_archive_of_a_later_version(self):
        path = self._write("a.eval", _header(), [])
        content = bytearray(path.read_bytes())
        content[content.index(b"PK\x01\x02") + 6] = 255
        path.write_bytes(content)
        with self.assertRaisesRegex(ValueError, "a.eval: no zip file"):
            self._read("rolling")


class ArchivesTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        folder = self.enterContext(tempfile.TemporaryDirectory())
        self.path = pathlib.Path(folder) / "a.zip"

    def _zstandard(self, raw, crc=None, name=b"a"):
        """Writes a zip file of one member that Zstandard packs."""
        packed = pa.compress(raw, "zstd", asbytes=True)
        crc = zlib.crc32(raw) if crc is None else crc
        common = struct.pack(
            "<HHHHHIIIHH",
            *(20, 0, 93, 0, 0, crc, len(packed), len(raw), len(name), 0),
        )
        local = b"PK\x03\x04" + common + name + packed
        central = b"PK\x01\x02" + struct.pack("<H", 20) + common
        central += struct.pack("<HHHII", 0, 0, 0, 0, 0) + name
        end = b"PK\x05\x06" + struct.pack(
            "<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0
        )
        self.path.write_bytes(local + central + end)

    def test_zstandard(self):
        self._zstandard(b"text " * 1000)
        with archives.Archive(self.path) as archive:
            self.assertEqual(archive.read("a"), b"text " * 1000)
        self._zstandard(b"text", crc=1)
        archive = self.enterContext(archives.Archive(self.path))
        with self.assertRaisesRegex(ValueError, "damaged .not what"):
            archive.read("a")

    def test_bombs(self):
        with zipfile.ZipFile(self.path, "w", zipfile.ZIP_LZMA) as archive:
            archive.writestr("a", b"\0" * 2**24)
        with self.assertRaisesRegex(ValueError, "at most 1,000 are read"):
            archives.Archive(self.path)
        raw = io.BytesIO()
        with zipfile.ZipFile(raw, "w") as archive:
            archive.writestr("a", b"x")
        # The directory claims more than is there.
        claimed = raw.getvalue()
        place = claimed.index(b"PK\x01\x02") + 24
        size = struct.pack("<I", 2**31)
        self.path.write_bytes(claimed[:place] + size + claimed[place + 4 :])
        with self.assertRaisesRegex(ValueError, "'a'.*2,147,483,648 bytes"):
            archives.Archive(self.path)

    def test_damage(self):
        self.path.write_bytes(b"no zip")
        with self.assertRaisesRegex(ValueError, "no zip file"):
            archives.Archive(self.path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with zipfile.ZipFile(self.path, "w") as archive:
                archive.writestr("a", b"first")
                archive.writestr("a", b"second")
        with archives.Archive(self.path) as archive:
            self.assertEqual(archive.read("a"), b"second")
            with self.assertRaisesRegex(ValueError, "no member 'b'"):
                archive.read("b")
        raw = self.path.read_bytes()
        self.path.write_bytes(raw.replace(b"second", b"secund"))
        archive = self.enterContext(archives.Archive(self.path))
        with self.assertRaisesRegex(ValueError, "damaged"):
            archive.read("a")


if __name__ == "__main__":
    absltest.main()
