"""What watches a run: clock, environment, progress."""
