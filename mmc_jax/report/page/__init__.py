"""One page that people send each other: one file, offline, from a result.json.

Every number of it is read from the result by the JSON Pointer of its field.
"""
