"""What can be said for a model: out-of-fold tables, paired tests, slices, calibration, behaviour, errors, its card."""
