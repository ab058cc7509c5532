"""Verifies the certificate of a frontier against the scores it is of.

  python -m experiments.check_certificate --scores=results/scores \
      --certificate=results/f/certificate.npz

with the flags of the scores, normalisation and cost that trace_frontier had.
The checker shares no code with the search; it is plain NumPy. Exit code 1, and
the place, where the certificate does not prove what it claims.
"""

from absl import flags

from . import program, shared_flags, tables

flags.adopt_module_key_flags(tables)
_CERTIFICATE = shared_flags.path(
    "certificate",
    None,
    "File of the certificate that trace_frontier wrote.",
    required=True,
)

flags.mark_flags_as_mutual_exclusive(["scores", "csv"], required=True)


def main():
    from mmc_jax import certificate_checker, report, stages

    report.check_file(_CERTIFICATE.value)
    table = tables.read()
    with stages.stage("verifying the certificate"):
        verdict = certificate_checker.check(
            _CERTIFICATE.value,
            table.losses(tables.NORMALISATION.value),
            table.costs(tables.COST.value),
        )
    print(
        f"verified: {verdict.proven.sum()} of {len(verdict.proven)} points are "
        "the best there is; elsewhere a better subset lies at most "
        f"{verdict.largest_gap:.6g} below. {verdict.num_nodes:,} nodes of "
        "trees."
    )
    print(
        f"resolution: losses {2 * verdict.resolution:.3g}, costs "
        f"{verdict.cost_resolution:.3g}; smaller differences may be hidden."
    )


if __name__ == "__main__":
    program.run(main)
