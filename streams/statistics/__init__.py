"""Statistics of many readings of one kind at once, as `scad summary` prints them: arrays in, numbers out."""
