"""Training: past transactions → a model version with its card."""
