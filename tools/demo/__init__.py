"""The demo model: the artifact that comes with the repository, and how it is built."""
