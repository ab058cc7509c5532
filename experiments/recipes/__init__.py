"""Which models `train_pool` trains, and on what: one study a file."""
