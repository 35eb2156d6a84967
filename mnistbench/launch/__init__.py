"""Starts runs in other processes; never imports torch."""
