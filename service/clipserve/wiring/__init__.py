"""Settings in, a running service out: the only room that knows all others."""
