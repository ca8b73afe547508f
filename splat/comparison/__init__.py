"""Strategies compared fairly: all that is not the strategy is the same for all of them."""
