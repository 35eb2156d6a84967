"""Time-to-accuracy in seconds, with error bars, from a laptop core to a cluster."""

__version__ = "0.2.0"
