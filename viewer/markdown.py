"""Text of others, such as names of files, within the Markdown that the page shows."""

from __future__ import annotations


def plain(text: str) -> str:
    """A text as it is, wherever it stands in Markdown: neither markup nor HTML, which viser's page
    would both take at their word."""
    return "".join(each if each.isalnum() or each == " " else f"&#{ord(each)};" for each in text)
