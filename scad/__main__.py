"""`python -m scad` is the command `scad`."""

from scad.main import run

run()
