"""Images by URL, from hosts that the operator has listed; off unless there are some."""
