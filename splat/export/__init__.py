"""A set made into a file that is as good and as small as was asked for, and checked."""
