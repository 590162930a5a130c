"""Measures the accuracy of a served model: labelled data in, a report out."""
