"""Writes the ONNX graphs of `clipserve.clip.artifact` from an architecture and its weights."""
