"""Scripts that make the fixtures of importers by the real tools.

Each tool is installed, pinned, in a virtual environment of its own, and scores
the texts below with models of the shipped pool on the CPU, offline.
"""
