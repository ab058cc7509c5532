"""Trains one router, says what it is worth, and sends new texts to models.

  python -m experiments.train_router --scores=results/scores \
      --corpus=texts.jsonl --router=ridge --out=results/router

A part of the texts judges a router that learns from the rest; then one learns
from all of them, and is kept in the folder. It sends new texts on their way:

  python -m experiments.train_router --out=results/router --predict=new.jsonl

writes predictions.jsonl there, a line a text: its id, the model that it goes to
and the loss that is expected. --features, where they are files, must be of the
new texts.
"""

from absl import flags

from . import choices, program, routing, shared_flags, tables

flags.adopt_module_key_flags(tables)
flags.adopt_module_key_flags(routing)
_ROUTER = flags.DEFINE_enum(
    "router", "nearest_neighbours", choices.ROUTERS, "The router to train."
)
_NUM_NEIGHBOURS = flags.DEFINE_integer(
    "num_neighbours",
    None,
    "Number of nearest neighbours; what routes best if unset.",
    lower_bound=1,
)
_PREDICT = shared_flags.path(
    "predict", None, "Texts that the router in --out sends to models."
)
_PRICE = flags.DEFINE_float(
    "price",
    0.0,
    "With --predict: loss that a unit of --cost is worth.",
    lower_bound=0.0,
)
_NUM_RESAMPLES = shared_flags.num_resamples(1000)
_CLUSTER_BY_DOMAIN = shared_flags.cluster_by_domain()
_SEED = shared_flags.seed()
_OUT = shared_flags.out()

flags.mark_flags_as_mutual_exclusive(
    ["scores", "csv", "predict"], required=True
)


def main():
    from . import routed_texts  # It needs the library, and --help does not.

    if _PREDICT.value is not None:
        print(routed_texts.predict(_OUT.value, _PREDICT.value, _PRICE.value))
        return
    options = {}
    if _NUM_NEIGHBOURS.value is not None:
        options["num_neighbours"] = _NUM_NEIGHBOURS.value
    print(
        routed_texts.train(
            tables.read(need_costs=False, keep_texts=True),
            _ROUTER.value,
            _OUT.value,
            by_domain=_CLUSTER_BY_DOMAIN.value,
            num_resamples=_NUM_RESAMPLES.value,
            seed=_SEED.value,
            flag_values=program.flag_values(),
            **options,
        )
    )


if __name__ == "__main__":
    program.run(main)
