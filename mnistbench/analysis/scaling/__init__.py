"""Whether more processes help, and why not: as measured, and by one plain model of a step."""
