"""What belongs to no room: the command line, settings, clock, logs, and the code that starts services."""

__version__ = "0.1.0"
