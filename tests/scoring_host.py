"""One of two processes with two CPU devices each that score; for test_hosts.py.

python -m tests.scoring_host JSON

JSON holds the process's number, the address of the first, and runs: folder of
results, pool file, corpus file and settings.
"""

import json
import sys
from unittest import mock

import jax

from mmc_jax import corpus, hosts, pool, scoring
from mmc_jax.models import tensors


def main(process_id: int, address: str, runs: list) -> None:
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", 2)
    jax.config.update("jax_enable_compilation_cache", False)
    hosts.initialize(address, 2, process_id, heartbeat_seconds=5)
    opened = mock.patch.object(tensors, "Tensors", wraps=tensors.Tensors)
    reader = opened.start()
    for out, pool_file, corpus_file, settings in runs:
        try:
            table = scoring.score(
                pool.read(pool_file),
                corpus.stream(corpus_file),
                out,
                settings=scoring.Settings(**settings),
            )
        except scoring.ScoringError as error:
            print(f"{process_id}: {error}", flush=True)
            table = error.table
        print(f"{process_id}: sum: {table.nll_nats.sum()}", flush=True)
        print(f"{process_id}: conversions: {reader.call_count}", flush=True)
        reader.reset_mock()


if __name__ == "__main__":
    main(*json.loads(sys.argv[1]))
