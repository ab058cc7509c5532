"""Every tolerance of the tests, with its reason; none is loosened to pass."""

# Port against PyTorch, float32: the absolute difference of two logits as a
# fraction of max|logit|. Both sides sum in float32, in different orders.
PARITY_LOGITS = 1e-5

# The nll of a token or a text from two compiled shapes, or under PyTorch,
# relative: float32 sums in different orders, as for logits.
SCORE_SHAPES = 1e-6
SCORE_TORCH = 1e-5

# A normalisation against numbers by hand, float64, relative: a division or
# two, each rounded to 1.1e-16.
NORMALISATION = 1e-15

# An oracle kernel against exact sums, relative: the contract, for any number of
# texts. Pairwise sums of 128 are off by at most 9 roundings, in float64 1e-15,
# and the mean by one more.
KERNEL_FLOAT32 = 1e-6
KERNEL_FLOAT64 = 2e-15

# A float32 kernel against a float64 loop, as a fraction of the largest value:
# some hundred roundings of 6e-8, of either sign.
FLOAT32_KERNEL = 2e-6

# Fitted against planted parameters without noise, relative: L-BFGS stops at a
# gradient of 1e-10, the worst condition (alpha against A) multiplies by 1e4.
LAW_PLANTED = 1e-6

# alpha, L_inf and A_at_scale against planted ones with residuals of 0.002 on 60
# points, relative: three standard errors of alpha, the least certain (0.0075
# over 60 simulated data sets).
LAW_NOISE = 0.025

# The same optimum reached from other points (units, order, repeats), relative:
# as LAW_PLANTED, from both sides.
LAW_OPTIMUM = 2e-6

# The optimum against SciPy's least_squares with the same Huber loss, relative;
# its own stopping is what limits it. The objective is flat there.
LAW_SCIPY = 1e-6
LAW_OBJECTIVE = 1e-9

# The objective after Adam and 8 steps of L-BFGS against the optimum, relative:
# what Adam is for is to come near.
LAW_ADAM_OBJECTIVE = 1e-2

# Ends of a profile's interval against bisection over SciPy's least squares,
# relative: linear interpolation between values 16^-3 of the first spacing apart
# (1e-4 seen).
LAW_PROFILE = 1e-3

# A sum of squares after the fit against SciPy's, relative.
LAW_SQUARES = 1e-8

# The two-variable law drawn with 0.5 percent of noise on 240 points against its
# parameters, relative: three standard errors of the exponents, 3 percent each.
LAW_TWO_VARIABLES = 0.1

# The nll of a token against a float64 log-softmax of the same logits, relative:
# a sum of V terms and a difference, in float32.
LOG_SOFTMAX = 1e-6

# The nll of a text, float32, relative: against PyTorch's, and in batches of
# other shapes. The same sums in another order; up to 9e-8 was seen.
TEXT_NLL = 1e-6

# The nll of a text in bfloat16 against float32, relative: eight bits of
# mantissa, 0.4 percent each.
TEXT_NLL_BFLOAT16 = 4e-3

# Oracle losses against a mean by NumPy, float64, relative: a hundred roundings.
MEAN_OF_LOSSES = 1e-13

# ALiBi's slopes against PyTorch's, relative: its base is rounded to float32 and
# then raised to a power of up to 64.
FLOAT32_SLOPES = 64 * 6e-8

# Memory at 8,192 tokens against four times that at 2,048, a factor: XLA packs
# buffers anew at each length (measured up to 1.10; from 4,096 on the bytes a
# token are the same to 0.5%). T log T would be 1.18, T^2 4.
LINEAR_MEMORY = 1.12

# The slope between two points of a routed frontier against its price, relative:
# a difference of means of about 1, each rounded to 1e-16, of 1e-3 or more.
SLOPE = 1e-9
# XLA's count of a compiled program's operations over ours, a factor: it has the
# keys that the mask hides, norms, activations and softmax as well. With 192
# features and 16 positions 1.04 to 1.09 was seen.
COMPILED_FLOPS = 1.12

# Differences of scores per token against a loop, float64, relative: two losses
# are divided before they are subtracted, which takes digits where they are
# close (here to a thousandth) and rounds to 1.1e-16 before.
DIFFERENCE = 1e-12

# FLOPs of 2,000 texts from a sample of 400, relative: nearly all is matrix
# products, which grow as the bytes do; what windows add varies by some
# thousandths.
SAMPLED_FLOPS = 0.02

# A standard error from 4,000 resamples against its formula, relative: it has
# itself one of 1 / sqrt(2 x 4,000) = 1.1 percent; four of them.
BOOTSTRAP_4000 = 0.045

# Shapley values summed against the gain of the pool, relative: sums of M means,
# each of M steps, in float64.
SHAPLEY_SUM = 1e-12

# A mean of gains of pairs against a loop, absolute, with losses of about 5: a
# gain is a difference of two means, each off by some roundings of 1e-15.
PAIR_MEAN = 1e-13

# A standard error from a jackknife against the plain formula, relative: errors
# of 1e-3 come from differences of means that round at 1e-15.
JACKKNIFE = 1e-9

# Parameters of two architectures at one width or the next, and the bytes of the
# sequences of two tokenizers, relative: what whole layers and whole tokens
# allow; the bytes of a token vary by domain.
EQUAL_SIZES = 0.03
EQUAL_TEXT = 0.05
# The standard deviation of 284,000 normal numbers, relative: six standard
# errors, 1 / sqrt(2 x 284,000) each.
DRAWN_NOISE = 8e-3

# The tail beyond an end of a Clopper-Pearson interval against a sum of
# binomials, relative: SciPy finds the end to 2e-12, and the tail goes with its
# twentieth power.
CLOPPER_PEARSON = 1e-9

# An oracle loss in whole numbers of 32 bits against float64, relative: half a
# unit a text, of a spread of up to twice the losses.
WHOLE_LOSSES = 2e-9

# Float32 scores of tokens against their text's sum: the sum is of the same
# numbers, in float64. A table refuses what is further away.
TOKEN_SUMS = 1e-6
# One token's score in batches of two shapes, float32 over two layers.
TOKEN_NLL = 1e-5

# The mixture kernel against 40 decimal digits, relative: the contract, for any
# number of texts and any range of nll.
MIXTURE_FLOAT32 = 1e-6
MIXTURE_FLOAT64 = 1e-12

# What is written of a mixture against 40 decimal digits: the contract, in nats
# and in roundings of the number itself.
MIXTURE_NATS = 1e-14
MIXTURE_ROUNDINGS = 4e-16

# exp and log out of additions and multiplications, relative: two
# roundings of the result, two of the argument's reduction.
PORTABLE = 6e-16
# A ridge fit that leaves one text out against solving without it, float64,
# relative: eigenvectors of 90 features round to 1e-15, times a condition of
# some 100, and residuals cancel two digits.
RIDGE = 1e-9

# The duality gap of fitted weights, in nats a text: the contract.
DUALITY_GAP = 1e-9

# Online mixtures in float32, over some segments, against sums over all
# sequences of models in float64.
ONLINE = 3e-6

# A floor that a page states with four digits after the point, relative.
STATED_FLOOR = 3e-5
