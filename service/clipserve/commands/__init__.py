"""The commands of `clipserve`, one file each. They run in a terminal, with or without a service."""
