"""Models that see or hear as well: of their files, the text tower's tensors.

Their config.json has the text's settings in `text_config`, and its `model_type`
names the port. The other towers have no part in the scores of texts: their
tensors are left aside by name, and a name that is nobody's stays an error.
"""

import pathlib
import re
from collections.abc import Mapping

from mmc_jax.corpus import files
from mmc_jax.models.families import WRAPPERS

# Beginnings of names of the text tower, as files of either age have them, and
# those of the same tensors in a text model.
RENAMED: Mapping[str, str] = {
    "language_model.model.": "model.",
    "language_model.lm_head.": "lm_head.",
    "model.language_model.": "model.",
}

# Modules that make features of images, videos or sound, and those that bring
# them to the width of the text.
_OTHERS = re.compile(
    r"^(model\.)?"
    r"(vision_tower|vision_model|visual|embed_vision|audio_tower|embed_audio"
    r"|multi_modal_projector)\."
)


def wraps(folder: pathlib.Path) -> bool:
    """Returns whether a folder's config is of a model that wraps a text tower.

    A folder whose config cannot be read is none; whoever needs it says so.
    """
    try:
        raw = files.json_object(folder / "config.json")
    except (OSError, ValueError):
        return False
    return raw.get("model_type") in WRAPPERS


def is_other(name: str) -> bool:
    """Returns whether a tensor belongs to a tower that no text reaches.

    Args:
      name: Its name as the file of a wrapper has it.
    """
    return _OTHERS.match(name) is not None
