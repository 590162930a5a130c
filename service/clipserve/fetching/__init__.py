"""Fetches images by URL from hosts that the operator lists; off without any."""

FETCH_SECONDS = 5.0  # of a fetch with its redirects
