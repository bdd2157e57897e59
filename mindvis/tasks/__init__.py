"""Training tasks: what is optimised, by which loss, and what is logged."""
