"""The flags of programs that look at two models of a score table."""

from absl import flags

from . import shared_flags

PAIR = flags.DEFINE_list(
    "pair", None, "Names of the two models.", required=True
)
NUM_RESAMPLES = shared_flags.num_resamples(1000)
SEED = shared_flags.seed()

flags.register_validator(
    "pair", lambda pair: len(pair) == 2, "--pair takes two names: a,b."
)
