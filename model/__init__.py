"""Codec, diffusion transformer, packing, trainer, sampler and editing."""
