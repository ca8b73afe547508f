"""What surrounds the numbers of an `.anchors` file (`splat.formats.container`)."""

from splat.formats.container import Container, broken

__all__ = ["ANCHORS", "MAGIC", "SUFFIX", "VERSION", "broken", "read", "write"]

SUFFIX, MAGIC, VERSION = ".anchors", b"SPLATANC", 1
ANCHORS = Container(SUFFIX, MAGIC, VERSION)
read, write = ANCHORS.read, ANCHORS.write
