"""Fetches images by URL from hosts that the operator lists; off without any."""
