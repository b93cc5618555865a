"""A seeded, labelled world of accounts and fraud patterns, and its publisher."""
