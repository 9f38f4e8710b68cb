"""Measuring the difference of two results. Needs only numpy."""
