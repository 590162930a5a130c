"""The APIs of other servers, for their clients. Each adapter parses, calls `Inference` and renders."""
