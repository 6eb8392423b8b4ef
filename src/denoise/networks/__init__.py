"""Networks, the backend that they run on, and model cards."""
