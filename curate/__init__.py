"""Raw video to clips with scores, ids and decisions. Bare, so that layer 1 loads without video libraries."""
