"""What `make docs` adds to ``docs/``: pages on algorithms, papers, policies and copied columns."""
