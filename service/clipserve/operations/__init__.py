"""Probes and metrics on a separate port, which answers even if the service cannot."""
