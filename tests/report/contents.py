"""A result.json of a page, made up: no search, any number of models.

What stands in it is what `report.overview_sections` writes.
"""

import numpy as np

# What may be harmful in a name or a text.
ODD_NAMES = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</script><script>alert(2)</script>",
    "\x1b[2J\x1b[31mred",
    "left\u202eright",
    "__proto__",
    "$columns",
    "a/b~c",
    "&lt;b&gt; &amp;",
    "-" * 300,
)


def content(num_models=12, num_families=4, num_points=20, names=()):
    """Returns the content of a result.json.

    Args:
      num_models: Number of models M.
      num_families: Number of families.
      num_points: Number of points of each line.
      names: Names of the first models, families, domains and texts.
    """
    rng = np.random.default_rng(0)

    def named(kind, number):
        return [*names, *(f"{kind} {i}" for i in range(number))][:number]

    models = named("model", num_models)
    families = named("family", num_families)
    costs = np.geomspace(1e6, 1e10, num_models).tolist()
    losses = (2 + 3 * np.geomspace(1, 0.1, num_models)).tolist()
    router = names[0] if names else "ridge"
    budgets = np.geomspace(1e6, 1e11, 21).tolist()
    readings = np.linspace(5, 2, 21)

    def line(shift):
        at = np.geomspace(1e6, 1e10, num_points)
        return {
            "costs": at.tolist(),
            "losses": (2 + shift + 3 * at**-0.05).tolist(),
            "models": [
                [
                    models[m]
                    for m in sorted({i % num_models, 7 * i % num_models})
                ]
                for i in range(num_points)
            ],
            "law": {
                "A": 3.0 + shift,
                "alpha": 0.05,
                "L_inf": 2.0 + shift,
                "r_squared": 0.99,
                "num_points": num_points,
                "intervals": {
                    "alpha": {"low": 0.04, "high": 0.06, "level": 0.95}
                },
            },
            "not_fitted": None,
            "readings": {
                "loss": (readings + shift).tolist(),
                "loss_low": (readings + shift - 0.1).tolist(),
                "loss_high": (readings + shift + 0.1).tolist(),
                "budget": [*budgets[:-1], None],
                "budget_low": (np.array(budgets) / 2).tolist(),
                "budget_high": [*budgets[:-2], None, None],
            },
        }

    def view(normalisation, cost):
        shift = 0.5 * (normalisation == "bits_per_byte")
        return {
            "normalisation": normalisation,
            "loss_unit": normalisation.replace("_", " "),
            "cost": cost,
            "cost_label": cost.replace("_", " "),
            "model_costs": costs,
            "model_losses": losses,
            "budgets": budgets,
            "losses": readings.tolist(),
            "num_budgets_inside": 16,
            "lines": {
                name: line(shift + 0.2 * i)
                for i, name in enumerate(("oracle", "mixture", "single"))
            }
            | {"router": {**line(shift + 0.3), "router": router}},
            "not_there": {"routed": "not asked for"},
        }

    def estimate(value):
        return {"value": value, "low": value - 0.1, "high": value + 0.1}

    frontier = [
        {
            "cost": cost,
            "loss": loss,
            "models": subset,
            "held_out_loss": loss + 0.01,
            "loss_low": loss - 0.1,
            "loss_high": loss + 0.1,
            "lower_bound": loss - 0.05,
        }
        for cost, loss, subset in zip(
            *(line(0)[key] for key in ("costs", "losses", "models")),
            strict=True,
        )
    ]
    of_text = {
        "oracle_loss": 1.25,
        "best_model": models[0],
        "gain": 0.5,
        "losses": losses,
    }
    texts = [
        {
            "text_id": name,
            "domain": name,
            **of_text,
            "text": f"A text of {name}.\n</script> \x1b[1m",
        }
        for name in named("text", 10)
    ]
    return {
        "flags": {"scores": "a folder", "method": "pruned", "routed": True},
        "versions": {"mmc_jax": "0.1.0"},
        "device": {"kind": "cpu", "count": 1},
        "sha256": {},
        "study": {
            "num_models": num_models,
            "num_texts": 100,
            "loss_unit": "nats",
            "cost": "num_params",
            "models": [
                {
                    "name": name,
                    "family": families[m % num_families],
                    "cost": costs[m],
                    "loss": losses[m],
                }
                for m, name in enumerate(models)
            ],
            "frontier": frontier,
            "all_models": {"loss": 2.1, "low": 2.0, "high": 2.2},
            "certified": {
                "num_points": num_points,
                "num_proven": num_points - 1,
                "largest_gap": 0.001,
            },
        },
        "law": {
            "views": [
                view(normalisation, cost)
                for normalisation in ("text_length", "bits_per_byte")
                for cost in ("num_params", "flops_per_byte")
            ]
        },
        "domains": {
            "domains": [
                {
                    "name": name,
                    "num_texts": 10,
                    "oracle_loss": 1.5,
                    "best_model": models[0],
                    "best_loss": 1.75,
                }
                for name in named("domain", 8)
            ],
            "losses": rng.uniform(1, 2, (8, num_models)).tolist(),
        },
        "diversity": {
            "models": [
                {
                    "name": name,
                    "family": families[m % num_families],
                    "loss": losses[m],
                    "win_share": 1 / num_models,
                    "shapley": 0.1,
                    "shapley_standard_error": 0.01,
                    "marginal_contribution": 0.001,
                }
                for m, name in enumerate(models)
            ],
            "pair_gains": rng.uniform(0, 1, (num_models, num_models)).tolist(),
            "largest": {
                "pair_gains": [
                    {"pair": models[:2], "bonus": 0.5, "low": 0.4, "high": 0.6}
                ]
            },
        },
        "diagnosis": {
            "findings": [{"about": "gain", "words": f"{models[0]} gains."}]
        },
        "texts": {"best_model": models[0], "worst": texts, "contested": texts},
        "granularity": {
            "granularity": {
                "unit": "bits per byte",
                "levels": [
                    {
                        "kind": kind,
                        "bytes_per_choice": size,
                        "best_loss": 2.5,
                        "all_models": 2.0 + size / 1000,
                        "all_models_interval": {"low": 1.9, "high": 2.4},
                        "controls": {
                            "losses": {"all_models": 1.8},
                            "residuals": {
                                "all_models": 2.1,
                                "share_of_gain": None,
                            },
                        },
                        "systems": {"bayes_mixture": 2.3, "fixed_share": 2.2},
                        "law": None,
                    }
                    for kind, size in (("text", 300.0), ("bytes:64", 60.5))
                ],
            }
        },
        "routers": {
            "routers": {
                "loss_unit": "nats",
                "entries": {
                    name: {
                        "routed": estimate(2.5),
                        "closed_gap": estimate(0.5),
                        "agreement": estimate(0.75),
                        "on_noise": {"closed_gap": estimate(-0.05)},
                    }
                    for name in named("router", 3)
                },
                "not_there": {"prefix": "tokens were not kept"},
            },
            "router_law": {
                "router": router,
                "cost": "num_params",
                "points": [
                    {
                        "cost": cost,
                        "routed": estimate(3.0),
                        "oracle": estimate(2.5),
                    }
                    for cost in (1e6, 1e7, 1e8)
                ],
            },
        },
        "answer": {
            "sentences": [
                {
                    "words": "The pool loses less.",
                    "fields": ["/study/all_models/loss"],
                }
            ]
        },
        "checklist": {
            "items": [
                {
                    "group": "data",
                    "item": "How many points?",
                    "answer": str(num_points),
                    "source": "/law",
                },
                {
                    "group": "data",
                    "item": "How were the models trained?",
                    "answer": None,
                    "source": "",
                },
            ]
        },
        "sensitivity": {"alpha": 0.5, "sentences": ["a law of its own"]},
        "scores": {"sha256": "0" * 64},
        "not_there": {"routers": "not asked for (--routers)"},
    }
