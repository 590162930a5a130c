"""Files of vectors: the list of items, the journal of a run, and the finished file."""
