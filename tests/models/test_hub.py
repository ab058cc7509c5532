"""Hub ids, from a cache of the hub that is made up: nothing is fetched."""

import pathlib
import tempfile
from unittest import mock

import huggingface_hub
from absl.testing import absltest
from flax import nnx

from mmc_jax import models
from mmc_jax.models import hub
from tests.models import test_parity

_COMMIT = "0123456789abcdef0123456789abcdef01234567"
_HUB_ID = "some/model"


class HubTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.cache = pathlib.Path(
            self.enterContext(tempfile.TemporaryDirectory())
        )
        constants = huggingface_hub.constants
        for name, value in {
            "HF_HUB_CACHE": str(self.cache),
            "HF_HUB_OFFLINE": True,
        }.items():
            self.enterContext(mock.patch.object(constants, name, value))
        repository = self.cache / "models--some--model"
        self.snapshot = repository / "snapshots" / _COMMIT
        config = test_parity.make_config("gpt2")
        models.save(models.build(config, rngs=nnx.Rngs(0)), self.snapshot)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(_COMMIT)
        (repository / "refs" / "v1.0").write_text(_COMMIT)

    def test_branch_tag_and_commit(self):
        for revision in (None, "main", "v1.0", _COMMIT):
            folder = hub.resolve(_HUB_ID, revision)
            self.assertEqual(folder, self.snapshot)
            self.assertEqual(hub.resolved_revision(folder), _COMMIT)

    def test_load(self):
        model = models.load(_HUB_ID, revision="v1.0")
        self.assertEqual(model.config.model_type, "gpt2")
        self.assertEqual(
            models.num_params(_HUB_ID, revision=_COMMIT),
            models.num_params(self.snapshot),
        )

    def test_what_is_not_there(self):
        other = _COMMIT[::-1]
        for hub_id, revision in (
            ("some/other", None),
            (_HUB_ID, "v2.0"),
            (_HUB_ID, other),
        ):
            with self.assertRaisesRegex(FileNotFoundError, hub_id):
                hub.resolve(hub_id, revision)

    def test_only_what_is_needed_is_asked_for(self):
        def patterns(**arguments):
            with mock.patch.object(
                huggingface_hub, "snapshot_download", return_value="folder"
            ) as download:
                hub.resolve(_HUB_ID, **arguments)
            return download.call_args.kwargs["allow_patterns"]

        everything = patterns()
        self.assertIn("*.safetensors", everything)
        self.assertNoCommonElements(everything, ["*.bin", "*.py", "*"])
        without = patterns(with_weights=False)
        self.assertCountEqual([*without, "*.safetensors"], everything)

    def test_folders_have_no_commit(self):
        folder = self.cache / _COMMIT
        folder.mkdir()
        self.assertIsNone(hub.resolved_revision(folder))
        with self.assertRaisesRegex(ValueError, "no revision 'main'"):
            hub.resolve(folder, "main")


if __name__ == "__main__":
    absltest.main()
