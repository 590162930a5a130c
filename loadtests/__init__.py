"""Load tests: a stranger on the network. Nothing here imports the service."""
