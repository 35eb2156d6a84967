"""Convolutions of few channels on a CPU, in C++ compiled at first use."""
