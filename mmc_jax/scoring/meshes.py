"""The devices of a scoring run. It imports no model."""

import jax
from jax.sharding import Mesh

from mmc_jax.models import sharding
from mmc_jax.scoring.settings import Settings


def mesh(settings: Settings) -> Mesh:
    """Returns the devices that score: this process's own if they are enough.

    Args:
      settings: How texts are scored, with the numbers of devices.

    Raises:
      ValueError: There are not so many as the settings ask for.
    """
    devices = jax.local_devices()
    if (settings.num_data or 1) * settings.num_model > len(devices):
        devices = jax.devices()
    return sharding.mesh(settings.num_data, settings.num_model, devices)
