"""What mmc_jax is measured against: other libraries, each at its best."""
