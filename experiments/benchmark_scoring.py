"""Times the scoring engine side by side with transformers on PyTorch.

  python -m experiments.benchmark_scoring --shape=gpt2-124m --out=results/speed

One run, one machine, one dtype: both sides score the same random texts with the
same random weights, in batches of like lengths, and take turns; the fastest of
the repetitions counts. The engine has batches of the size that is its default
for the device, the peer of each size of --peer_tokens_per_batch; the ratio is
to the size that suits it best, and the others stand beside it. The peer is told
which rows and positions are padding and leaves them out; its loss is PyTorch's
cross entropy, float32, of the logits of a batch. Without torch only the engine
is timed. Tokens are those of the texts, without padding. Beside them stands
what bounds both: the rate of a large product by XLA, as the engine makes them,
and by PyTorch, in the same run; and the ratio of an engine that ran at the
faster of the two throughout.

On a CPU that others use as well, `taskset -c 0 python -m
experiments.benchmark_scoring --num_threads=1 --clock=cpu ...` tells the same of
one core: the seconds that the process has had, not those that went by.

`--num_devices=1,2,4,8` adds the engine alone on so many devices, virtual ones
on a CPU, where it shows that scores stay the same, and nothing about speed.

`--against=transformer` times a LLaMA of as many active parameters in place of
PyTorch: both are ports of ours and score one text of 1,024 tokens. That is for
the shapes of state-space models and hybrids.

Expected on 2 CPU cores in float32: 1.1 to 1.3 times the tokens a second of the
peer at its best, 1.3 to 1.5 times those of its larger batches, and scores
within 1e-7; 4 minutes for 24 texts.
"""

import os

from absl import flags

from . import choices, program, shared_flags

_SHAPE = flags.DEFINE_enum(
    "shape", "gpt2-124m", choices.SHAPES, "Shape of the model."
)
_AGAINST = flags.DEFINE_enum(
    "against",
    "pytorch",
    ["pytorch", "transformer"],
    "What is timed beside the model: transformers on PyTorch, or a transformer "
    "of as many parameters, a port as well.",
)
_DTYPE = shared_flags.dtype()
_NUM_TEXTS = flags.DEFINE_integer(
    "num_texts",
    64,
    "Least number of texts; the last batch is filled up.",
    lower_bound=1,
)
_TOKENS_PER_BATCH = shared_flags.tokens_per_batch()
_PEER_TOKENS_PER_BATCH = shared_flags.integers(
    "peer_tokens_per_batch",
    [1024, 8192],
    "Token budgets of the peer's batches.",
    lower_bound=1,
)
_NUM_REPEATS = shared_flags.num_repeats(3)
_NUM_THREADS = flags.DEFINE_integer(
    "num_threads", os.cpu_count(), "Threads of PyTorch.", lower_bound=1
)
_NUM_DEVICES = shared_flags.integers(
    "num_devices",
    [],
    "Numbers of devices on which the engine is timed as well.",
    lower_bound=1,
)
_CLOCK = flags.DEFINE_enum(
    "clock",
    "wall",
    ["wall", "cpu"],
    "The seconds that go by, or those of this process on all cores, waiting "
    "threads included: for one thread on a busy CPU.",
)
_PEER = flags.DEFINE_bool("peer", True, "Time transformers as well.")
_DEPTHS = shared_flags.integers(
    "depths", [4, 48], "Numbers of layers of which the compile time is told."
)
_CHECKPOINT = shared_flags.checkpoint(required=False)
_MESH = shared_flags.mesh("1x1")
_OUT = shared_flags.out()


def main():
    from .benchmarks import family_speed, scoring_speed

    setup = scoring_speed.Setup(
        shape=_SHAPE.value,
        dtype=_DTYPE.value,
        num_texts=_NUM_TEXTS.value,
        tokens_per_batch=_TOKENS_PER_BATCH.value,
        peer_tokens_per_batch=(
            _PEER_TOKENS_PER_BATCH.value if _PEER.value else []
        ),
        num_repeats=_NUM_REPEATS.value,
        num_threads=_NUM_THREADS.value,
        num_devices=_NUM_DEVICES.value,
        clock=_CLOCK.value,
        depths=_DEPTHS.value,
        checkpoint=_CHECKPOINT.value,
        mesh=shared_flags.mesh_sizes(_MESH.value),
    )
    against = {"pytorch": scoring_speed, "transformer": family_speed}
    against[_AGAINST.value].write(setup, _OUT.value, program.flag_values())


if __name__ == "__main__":
    program.run(main)
