"""The commands of `clipserve`, a file each. They run in a terminal, beside a service or without one."""
