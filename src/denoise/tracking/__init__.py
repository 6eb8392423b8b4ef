"""Recording every run in MLflow, live and again when it is complete."""
