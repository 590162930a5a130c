"""Starts and measures other servers of CLIP models (`python -m loadtests.compare`)."""
