"""The page of an experiment, and the pages of blind listening tests."""
