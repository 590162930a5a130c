"""Load tests, which act as any client on the network."""
