"""Methods: one per file, each a story told from its paper to its loss."""
