"""Variants of an fp32 artifact in a smaller precision: one gate, one record, and a writer for each precision."""
