"""CLIP as commands use it: one seam, `clip`, with an implementation in this process and one behind an address."""
