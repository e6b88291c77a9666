"""Video codecs: frames to a small latent grid, and back."""
