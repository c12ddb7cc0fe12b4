"""What a term means: one walk, `interpret`, and a table for each domain of values."""
