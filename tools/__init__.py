"""What makes the documents and measures the project; see the help of `make`. The service imports none of it."""
