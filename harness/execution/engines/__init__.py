"""What starts workers: each module one engine, imported when it is named."""
