"""The trainable captioner, other captioners, recaptioning, caption checks and prompt expansion."""
