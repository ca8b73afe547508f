"""The machine and its files: memory, clocks, locks, atomic writes, import paths, errors."""
