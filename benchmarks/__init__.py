"""What a send costs beside other ways to make it, and what a storm of faults does to each.

`python -m benchmarks --help` lists the commands; `python -m benchmarks all` runs everything in one
go and writes `benchmarks/results/`. What they need beyond the package is the dependency group
`bench`.
"""
