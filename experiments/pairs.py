"""The flags of programs that look at two models of a score table."""

from absl import flags

PAIR = flags.DEFINE_list("pair", None, "Two models.", required=True)
NUM_RESAMPLES = flags.DEFINE_integer(
    "num_resamples", 1000, "Of the texts.", lower_bound=1
)
SEED = flags.DEFINE_integer("seed", 0, "Of the draws.")

flags.register_validator(
    "pair", lambda pair: len(pair) == 2, "--pair takes two names: a,b."
)
