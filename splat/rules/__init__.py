"""What methods are built of: clone, split, prune, relocation, selection, windows of statistics."""
