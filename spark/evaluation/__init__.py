"""Evaluation: how well the scores find what the labels say."""
