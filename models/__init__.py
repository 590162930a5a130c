"""Makes and checks artifacts, the folders of data that the service serves: see `python -m models --help`."""
