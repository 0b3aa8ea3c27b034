"""Public scores behind printed numbers: fetched, held to their hashes, read as hostile files are."""
