"""What the benchmark programs measure: one module a program."""
