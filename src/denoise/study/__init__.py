"""From the configuration to a plan, and what the workflow asks of it."""
