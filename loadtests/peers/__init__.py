"""Other servers of CLIP models, and what starts, feeds and measures them (`python -m loadtests.compare`)."""
