"""Measures how long routers take to learn and to send texts on their way.

  python -m experiments.benchmark_routers --out=results/benchmark_routers

Simulated losses of 71 models on 10,000 texts with 1,024 features each. Each
router learns, its settings tuned, and predicts the losses of all texts. Five
minutes.
"""

from absl import flags

from . import choices, program, shared_flags

_NUM_MODELS = flags.DEFINE_integer(
    "num_models", 71, "Number of simulated models.", lower_bound=2
)
_NUM_TEXTS = flags.DEFINE_integer(
    "num_texts", 10000, "Number of simulated texts.", lower_bound=40
)
_NUM_FEATURES = flags.DEFINE_integer(
    "num_text_features", 1024, "Number of features of a text.", lower_bound=2
)
_ROUTERS = flags.DEFINE_list(
    "only_routers", None, "Names of the routers to time; all if unset."
)
_SEED = shared_flags.seed()
_OUT = shared_flags.out()


def main():
    from .benchmarks import router_speed

    print(
        router_speed.write(
            _OUT.value,
            routers=_ROUTERS.value or choices.ROUTERS,
            num_models=_NUM_MODELS.value,
            num_texts=_NUM_TEXTS.value,
            num_features=_NUM_FEATURES.value,
            seed=_SEED.value,
            flags=program.flag_values(),
        )
    )


if __name__ == "__main__":
    program.run(main)
