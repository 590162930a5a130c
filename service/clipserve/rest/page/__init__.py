"""The page for people at GET /."""
