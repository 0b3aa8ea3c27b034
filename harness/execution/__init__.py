"""Where populations run: in this process, one after the other."""
