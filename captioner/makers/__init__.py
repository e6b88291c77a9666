"""Captioners of every kind: ours, Hugging Face models, chat servers, and texts that are known already."""
