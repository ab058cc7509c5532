"""Verifies the certificate of a frontier against the scores it is of.

  python -m experiments.check_certificate --scores=results/scores \
      --certificate=results/f/certificate.npz

with the flags of the scores, normalisation and cost that trace_frontier had.
The checker shares no code with the search; it is plain NumPy. Exit code 1, and
the place, where the certificate does not prove what it claims.
"""

import numpy as np
from absl import flags

from experiments import program, tables
from mmc_jax import certificate_checker

flags.adopt_module_key_flags(tables)
_CERTIFICATE = flags.DEFINE_string(
    "certificate", None, "The file that trace_frontier wrote.", required=True
)

flags.mark_flags_as_mutual_exclusive(["scores", "csv"], required=True)


def main():
    table = tables.read()
    verdict = certificate_checker.check(
        _CERTIFICATE.value,
        table.losses(tables.NORMALISATION.value),
        table.costs(tables.COST.value),
    )
    gaps = np.where(verdict.proven, 0, verdict.losses - verdict.bounds)
    print(
        f"verified: {verdict.proven.sum()} of {len(verdict.proven)} points are "
        f"the best there is; elsewhere a better subset lies at most "
        f"{gaps.max():.6g} below. {verdict.num_nodes:,} nodes of trees."
    )


if __name__ == "__main__":
    program.run(main)
