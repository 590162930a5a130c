"""CLIP from Python: `Clip` in this process, `Client` and `AsyncClient` on a server, with the same methods."""
