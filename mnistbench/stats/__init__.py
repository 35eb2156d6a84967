"""Pure functions of numbers: intervals, survival, rank tests, resampling, sequential tests."""
