"""Signals: beats, quality and rhythm of raw ECG, and rhythm from RR intervals. Pure numpy and scipy."""
