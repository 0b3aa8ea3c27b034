"""The results database: what was run, with what, where, and the raw returns.

`store` reads and writes it, `transfer` moves results between databases and files, `leases` says who works
on a run, `provenance` describes the machine and the code. Nothing here imports torch.
"""
