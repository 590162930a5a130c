"""Makes and checks artifacts, the folders of data that the service serves: see `clipserve models --help`."""

__version__ = "0.1.0"
