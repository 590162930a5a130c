"""Vectors in files: what is to be embedded, the journal meanwhile, and the finished file."""
