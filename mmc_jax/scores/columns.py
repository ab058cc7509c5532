"""Names of the columns of a score table in files of rows and columns.

Exporters write them and importers read them, so both take them from here.
"""

# A number or a string a text.
COUNTS = ("num_bytes", "num_chars")
SHA256 = "sha256"
DATE = "date"
TEXT = "text"
DOMAIN = "domain"
TEXT_ID = "text_id"
# Attributes of a table that have a value a model and text, with the name of
# their column in a long table.
PER_MODEL = {
    "num_tokens": "num_tokens",
    "num_scored": "num_scored",
    "round_trips": "round_trips",
    "query_costs": "query_cost",
}
# What files of facts and pools call the day of a model's release.
RELEASE_DATE = "release_date"
# What a file of facts says of all its models' table.
CHARS_PER_TOKEN = "chars_per_token"
PROVENANCE = "provenance"


def of_model(column: str, model: str) -> str:
    """Returns the column of a wide table that holds more of one model.

    Args:
      column: Name of the column in a long table.
      model: Name of the model.

    >>> of_model("num_tokens", "org/a")
    'num_tokens|org/a'
    """
    return f"{column}|{model}"
