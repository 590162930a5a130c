"""`clipserve doctor`: finds faults of an installation or a server, and says what to do."""
