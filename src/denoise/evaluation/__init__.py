"""Scores, baselines, statistics and comparisons."""
