"""clipserve: CLIP image and text encoders behind one small HTTP service."""

__version__ = "0.1.0"
