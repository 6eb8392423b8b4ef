"""Mixtures of speech and noise: drawn as tables, rendered as audio."""
