"""Levels of detail: leaves of a k-d tree, and coarser and coarser versions of what lies in them."""
