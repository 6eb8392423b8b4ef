"""The networks, the back end that they run on, and the card of a trained one."""
