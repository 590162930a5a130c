"""Builds a running service from settings: the only package that knows all others."""
