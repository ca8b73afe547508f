"""`python -m splat`."""

from splat.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
