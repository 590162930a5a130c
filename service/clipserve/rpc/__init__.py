"""The gRPC front: parse, call, render."""
