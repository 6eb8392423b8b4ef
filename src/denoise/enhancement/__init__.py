"""Applying a trained network to files, test sets and streams."""
