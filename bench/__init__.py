"""Measuring scripts: each prints a table and writes its figures as JSON with the machine and the date."""
