"""Training one network, resumable at any time."""
