"""The words that a generator knows: texts as numbers, and what it says to other words."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from jaxtyping import Int
from torch import Tensor

from splat.system.foreign import Broken, Record

if TYPE_CHECKING:
    from splat.generate.encoders import Encoder

ARTICLES = ("a", "an", "the")
NEEDED = "shape"
"""The property that every text has to name, where a vocabulary has properties."""
MOST = 12
"""Words of a text at most."""
_WORD = re.compile(r"[a-z0-9][a-z0-9'-]*")


class Speaker(Protocol):
    """What knows texts: a vocabulary, or a text encoder of others (`encoders.Encoder`)."""

    @property
    def known(self) -> int | Encoder:
        """Of how many words, or by which encoder."""
        ...

    def read(self, text: str) -> Any:
        """A text as it is learned; ValueError with a sentence where it is not known."""
        ...

    def numbers(self, texts: Sequence[Any]) -> Int[Tensor, "b t"]:
        """Texts that were read as numbers, with 0 behind shorter ones; of as many columns always,
        so that what a text gives does not depend on those beside it."""
        ...

    def record(self) -> dict[str, Any]:
        """What a file keeps of it."""
        ...


@dataclass(frozen=True)
class Vocabulary:
    """All words, and of which property each is.

    Where there are properties, a text has one word of each at most, in any order: it is read in
    that of the properties, as the texts to learn from have them. Number 0 is no word.
    """

    words: tuple[str, ...]
    properties: Mapping[str, tuple[str, ...]]

    def read(self, text: str) -> tuple[str, ...]:
        """The words of a text, as they are learned; ValueError with a sentence where one is not
        known, or they do not fit together."""
        found = [word for word in _WORD.findall(text.lower()) if word not in ARTICLES]
        if not found:
            raise ValueError(f"the text {text!r} has no words; expected some, {self._such_as()}")
        unknown = [word for word in dict.fromkeys(found) if word not in self.words]
        if unknown:
            near = [difflib.get_close_matches(word, self.words, 2, 0.6) for word in unknown]
            hints = [
                f"for {word!r} perhaps {' or '.join(n)}"
                for word, n in zip(unknown, near, strict=True)
                if n
            ]
            raise ValueError(
                f"{', '.join(map(repr, unknown))}: no words that this generator knows;"
                f" {', '.join([*hints, self._listed()])}"
            )
        if len(found) > MOST:
            raise ValueError(f"the text has {len(found)} words; expected {MOST} at most")
        if not self.properties:
            return tuple(found)
        chosen: dict[str, str] = {}
        for word in found:
            name = next(name for name, words in self.properties.items() if word in words)
            if chosen.setdefault(name, word) != word:
                raise ValueError(
                    f"{chosen[name]!r} and {word!r} are both a {name}; expected one of them"
                )
        if NEEDED in self.properties and NEEDED not in chosen:
            shapes = ", ".join(word for word in self.properties[NEEDED] if word)
            raise ValueError(f"the text {text!r} names no {NEEDED}; expected one of {shapes}")
        return tuple(chosen[name] for name in self.properties if name in chosen)

    @property
    def known(self) -> int:
        """How many words."""
        return len(self.words)

    def numbers(self, texts: Sequence[tuple[str, ...]]) -> Int[Tensor, "b t"]:
        """See `Speaker`."""
        rows = torch.zeros(len(texts), MOST, dtype=torch.int64)
        for row, words in zip(rows, texts, strict=True):
            for column, word in enumerate(words):
                row[column] = 1 + self.words.index(word)
        return rows

    def record(self) -> dict[str, Any]:
        """What a file keeps of it."""
        properties = [[name, list(words)] for name, words in self.properties.items()]
        return {"words": list(self.words), "properties": properties}

    @classmethod
    def of_record(cls, record: Record) -> Vocabulary:
        """Of what a file keeps; raises `Broken`."""
        words, listed = record.texts("words"), record.get("properties")
        if not words or len({*words}) != len(words):
            raise Broken("has no words, or one twice; expected each once")
        if not isinstance(listed, list):
            raise Broken("has no `properties`; expected a list of them")
        properties = {}
        for each in listed:
            if not isinstance(each, list) or len(each) != 2 or not isinstance(each[0], str):
                raise Broken("has a property without a name and words")
            properties[each[0]] = Record({"words": each[1]}).texts("words")
        known = {word for group in properties.values() for word in group if word}
        if properties and known != {*words}:
            raise Broken("has words that are of no property; expected one for each")
        return cls(words, properties)

    def _such_as(self) -> str:
        if not self.properties:
            return f"such as {self.words[0]!r}"
        said = (next((word for word in group if word), "") for group in self.properties.values())
        return f"such as {' '.join(word for word in said if word)!r}"

    def _listed(self) -> str:
        if not self.properties:
            return f"it knows {', '.join(self.words)}"
        groups = (
            f"{name}: {', '.join(word for word in group if word)}"
            for name, group in self.properties.items()
        )
        return f"it knows {'; '.join(groups)}"


def vocabulary_of(texts: Sequence[str], properties: Mapping[str, Sequence[str]]) -> Vocabulary:
    """The vocabulary of texts to learn from; ValueError where they do not fit the properties."""
    groups = {name: tuple(words) for name, words in properties.items()}
    words = tuple(word for group in groups.values() for word in group if word)
    if not groups:
        found = (_WORD.findall(text.lower()) for text in texts)
        words = tuple(sorted({word for text in found for word in text} - {*ARTICLES}))
    vocabulary = Vocabulary(words, groups)
    for text in texts:
        vocabulary.read(text)
    return vocabulary
