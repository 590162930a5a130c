"""The gRPC API: parse, call, render."""
