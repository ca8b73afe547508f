"""What methods are built of: births, deaths, relocation, choices among rows, windows of steps."""
