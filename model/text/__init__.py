"""Text encoders: captions to ragged rows of states."""
