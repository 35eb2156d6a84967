"""Whether more processes help, and why not: scaling as measured, as modelled, and in words."""
