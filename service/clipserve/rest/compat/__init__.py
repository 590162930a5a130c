"""Shapes that the clients of other servers know, each by one adapter: parse, call `Inference`, render."""
