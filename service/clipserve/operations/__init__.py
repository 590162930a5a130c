"""Probes and metrics on a port of their own, which answers also when the service cannot."""
