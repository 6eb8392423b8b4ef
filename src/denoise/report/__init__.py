"""The page of an experiment, and the pages of blind listening tests."""

import os

# Nothing is shown in a window, whatever the user has chosen for other programs.
os.environ["MPLBACKEND"] = "agg"
