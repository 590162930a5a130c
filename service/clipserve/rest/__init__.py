"""The REST front: parse, call, render."""
