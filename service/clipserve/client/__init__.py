"""CLIP from Python: `Clip` in this process, `Client` and `AsyncClient` at a server, with the same methods."""
