"""What a frontier says of other texts, and how far a search is from exact."""
