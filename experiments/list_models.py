"""Lists what is ported, the shipped pools, and the memory that models need.

  python -m experiments.list_models
  python -m experiments.list_models --pool=base71 --mesh=2x4 --dtype=bfloat16

Without a pool: the ports with their model types, and how much of each shipped
pool they cover. With one: its models, which of them have a port, and the memory
that their weights take on each device of a mesh (data x model; weights are
split along the second, or with --over_data along both), and how much of it
stays whole because the mesh does not divide it. That is exact for a model whose
config.json is here; of others it is the least (>=). Nothing is fetched; some
seconds on any machine.
"""

from absl import flags

from . import program, shared_flags

_POOL = shared_flags.pool(required=False)
_MESH = shared_flags.mesh("1x1")
_DTYPE = shared_flags.dtype()
_OVER_DATA = flags.DEFINE_boolean(
    "over_data", False, "Split weights over all devices of the mesh."
)
_OUT = shared_flags.out(required=False)


def main():
    from mmc_jax import report

    from . import listings

    num_data, num_model = shared_flags.mesh_sizes(_MESH.value)
    if num_data is None:
        raise ValueError(f"--mesh={_MESH.value}: give both numbers, as in 2x4")
    about_weights = (_MESH, _DTYPE, _OVER_DATA)
    if _POOL.value is None and any(flag.present for flag in about_weights):
        raise ValueError("--mesh, --dtype and --over_data ask for a --pool")
    if _POOL.value is None:
        numbers = listings.list_ports()
    else:
        numbers = listings.list_pool(
            _POOL.value, _DTYPE.value, num_data, num_model, _OVER_DATA.value
        )
    if _OUT.value is not None:
        print(
            report.write_result(
                _OUT.value, numbers, flags=program.flag_values()
            )
        )


if __name__ == "__main__":
    program.run(main)
