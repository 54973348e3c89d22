"""Text environments behind one async interface; see `base`."""
