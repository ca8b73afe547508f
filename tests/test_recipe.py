"""Strategies as texts: parsed, said again, refused with a sentence."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from splat.core.chain import Chain
from splat.core.strategy import Fixed, Strategy, Wrapper
from splat.recipes import catalog
from splat.recipes.described import recipe_names
from splat.recipes.recipe import (
    names,
    strategy_from_text,
    terms_of,
    text_of,
    to_text,
    to_text_or_names,
)
from splat.recipes.saved import description_of, strategy_from_description
from splat.strategies.adc import Adc
from splat.strategies.budget import Budget
from splat.strategies.freeze import Freeze
from splat.strategies.mcmc import Mcmc
from splat.strategies.protect import Protect
from splat.strategies.significance import Significance

RECIPES: dict[str, Strategy] = {
    "mcmc": Mcmc(),
    "mcmc --cap 200k": Mcmc(cap=200_000),
    "adc --absgrad --grow-gradient 0.0003 --no-prune-before-scene": Adc(
        absgrad=True, grow_gradient=3e-4, prune_before_scene=False
    ),
    "mcmc --cap 1.5M --noise 0 --relocation area + budget --rows 30k --curve sqrt": Budget(
        Mcmc(cap=1_500_000, noise=0.0, relocation="area"), rows=30_000, curve="sqrt"
    ),
    "adc + protect --rule 'opacity>0.6 and age>50' --reasons size screen + freeze": Freeze(
        Protect(Adc(), rule="opacity>0.6 and age>50", reasons=("size", "screen"))
    ),
    "fixed + freeze --rows outside --low -1 -2.5 0 --high 1 1e-3 4": Freeze(
        Fixed(), rows="outside", low=(-1, -2.5, 0), high=(1, 1e-3, 4)
    ),
    "fixed + protect + adc + budget": Budget(Chain((Protect(), Adc()))),
    "fixed + adc + fixed": Chain((Fixed(), Adc(), Fixed())),
    "fixed + ( adc + protect ) + fixed": Chain((Fixed(), Protect(Adc()), Fixed())),
    "( fixed + adc ) + fixed": Chain((Chain((Fixed(), Adc())), Fixed())),
    "fixed + ( adc + ( fixed + protect ) )": Chain((Fixed(), Chain((Adc(), Protect())))),
}


@pytest.mark.parametrize("text", RECIPES)
def test_a_recipe_is_parsed_and_said_again(text: str) -> None:
    strategy = RECIPES[text]
    assert strategy_from_text(text) == strategy
    assert strategy_from_text(to_text(strategy)) == strategy
    assert strategy_from_description(description_of(strategy)) == strategy
    canonical = text.replace("1.5M", "1500k").replace("1e-3", "0.001")
    assert to_text(strategy) == canonical


def test_a_preset_is_its_parts_with_its_options_for_each() -> None:
    light = Significance(Mcmc(), "most", at=(16_000, 24_000), below=0.25, how="shrink")
    assert strategy_from_text("mcmc + radsplat --below 0.25 --how shrink") == light
    mini: dict[str, Any] = {"score": "mini", "how": "recycle"}
    drawn = Significance(Mcmc(), at=(15_000,), keep=0.5, pick="multinomial", **mini)
    held = Significance(drawn, at=(20_000,), mass=0.99, **mini)
    assert strategy_from_text("mcmc + mini-splatting --how recycle") == held
    assert strategy_from_text("mcmc + (fixed + mini-splatting --how drop)") != held
    with pytest.raises(ValueError, match=r"cannot stand first.*mrnf \+ radsplat"):
        strategy_from_text("radsplat")


def test_arguments_serve_as_well_as_a_text() -> None:
    words = ["adc", "--cap", "60k", "+", "protect", "--rule", "opacity>0.5", "--reasons", "size"]
    assert strategy_from_text(words) == Protect(Adc(cap=60_000), reasons=("size",))
    assert terms_of(["a", "+", "(", "b", "+", "c", ")"]) == [["a"], ["(", "b", "+", "c", ")"]]


def test_what_is_offered_has_the_defaults() -> None:
    offered = {"mcmc": Mcmc(cap=77), "mine": Adc(cap=5)}
    assert strategy_from_text("mcmc + protect", offered) == Protect(Mcmc(cap=77))
    assert strategy_from_text("mine --cap 6", offered) == Adc(cap=6)
    assert to_text(Mcmc(cap=77)) == "mcmc --cap 77"


@pytest.mark.parametrize("seed", range(30))
def test_any_strategy_of_ours_is_said_and_parsed(seed: int) -> None:
    draw = random.Random(seed)
    strategy = altered(draw.choice([*catalog.methods().values()]), draw)
    for _ in range(draw.randrange(4)):
        if draw.random() < 0.7:
            part = altered(draw.choice([*catalog.parts().values()]), draw)
            strategy = dataclasses.replace(part, base=strategy)
        else:
            strategy = Chain((strategy, draw.choice([Fixed(), Protect()])))
    assert strategy_from_text(to_text(strategy)) == strategy


def altered(kind: type[Any], draw: random.Random) -> Any:
    """With some fields other than their defaults, where that makes a strategy."""
    found = kind()
    for field in dataclasses.fields(kind):
        old = getattr(found, field.name)
        if field.name == "base" or draw.random() < 0.5:
            continue
        new: Any = old
        if isinstance(old, bool):
            new = not old
        elif isinstance(old, int):
            new = draw.choice([1, 7, 3000, 1234, 2_000_000])
        elif isinstance(old, float):
            new = draw.choice([0.1, 1 / 3, 1e-7, 2.5e9])
        elif isinstance(old, tuple) and field.name == "reasons":
            new = draw.choice([("size",), ("size", "opacity"), ("a b",)])
        try:
            found = dataclasses.replace(found, **{field.name: new})
        except ValueError:
            continue
    return found


def test_a_file_may_have_lines_and_comments(tmp_path: Path) -> None:
    path = tmp_path / "rooms.txt"
    path.write_text(
        "# what I use for rooms\n"
        "mcmc --cap 20k   # grows by itself\n"
        "\n"
        "+ protect\n"
        "    --rule 'opacity>0.5'\n"
        "    --reasons size  # 'quoted' words + signs are no matter here\n"
        "+ budget --rows 9k\n"
    )
    wanted = Budget(Protect(Mcmc(cap=20_000), reasons=("size",)), rows=9000)
    assert strategy_from_text(text_of(str(path))) == wanted
    assert text_of("mcmc --cap 3 + protect") == "mcmc --cap 3 + protect"
    with pytest.raises(FileNotFoundError, match="does not exist; expected a file with a recipe"):
        text_of(str(tmp_path / "flats.txt"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "nothing stands before or after a +"),
        ("mcmc +", "nothing stands before or after a +"),
        ("+ protect", "nothing stands before or after a +"),
        ("mcmc + + protect", "nothing stands before or after a +"),
        ("protect", "alters another method and cannot stand first; put it after one: mrnf + pro"),
        ("mcm", "there is no method or part 'mcm'; perhaps you meant mcmc"),
        ("mcmc + protct", "perhaps you meant protect"),
        ("mcmc + zzz", "there are mcmc, adc"),
        ("mcmc+protect", "a + needs a space on either side"),
        ("mcmc --capp 3", "Unrecognized options: --capp"),
        ("mcmc --capp 3", "perhaps you meant --cap"),
        ("mcmc + budget --row 3", "--rows"),
        ("mcmc --cap many", "'many' is no whole number"),
        ("mcmc --cap 0", "cap is 0; expected 1 or more"),
        ("mcmc + protect --rule size>1", "expected opacity, scale or age"),
        ("mcmc 'a", "cannot be read: No closing quotation"),
        ("(mcmc", "a ( without its )"),
        ("mcmc)", "a ) without its ("),
        ("(mcmc) --cap 3", "stands after a ); expected a +"),
        ("mcmc + adc", "adc makes all rows faint now and then"),
        ("adc + adc", "both reset opacity"),
        ("mcmc + nowhere:Mine", "cannot be imported"),
    ],
)
def test_what_is_no_recipe_is_answered(text: str, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        strategy_from_text(text)
    assert str(caught.value).count("perhaps you meant") <= 1 and "\u2502" not in str(caught.value)
    assert words in str(caught.value) and "\n" not in str(caught.value)


MINE = '''
from dataclasses import dataclass, field
from splat.core.strategy import Fixed, Strategy, Wrapper

@dataclass(frozen=True)
class Inner:
    depth: int = 3

@dataclass(frozen=True)
class Mine(Fixed):
    """Mine."""

    interval: int = 10
    inner: Inner = field(default_factory=Inner)

@dataclass(frozen=True)
class Part(Wrapper):
    """A part of mine."""

    often: bool = True
'''


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    monkeypatch.chdir(tmp_path)
    yield path


def test_descriptions_name_methods_and_parts_as_recipes_do() -> None:
    for method in catalog.methods().values():
        assert recipe_names(description_of(method())) == names(method())
    for name in catalog.parts():
        try:
            strategy = strategy_from_text(f"mcmc + {name}")
        except ValueError:  # of what stands behind other methods only
            continue
        assert recipe_names(description_of(strategy)) == names(strategy) == f"mcmc + {name}"
    usual = strategy_from_text("mrnf + renew")
    assert recipe_names(description_of(usual)) == "mrnf + significance"


def test_ones_own_strategies_have_their_path_for_a_name(mine: Path) -> None:
    text = "mine.py:Mine --interval 5 --depth 4 + mine.py:Part --no-often + protect"
    strategy = strategy_from_text(text)
    assert names(strategy) == "mine + part + protect"
    assert to_text(strategy) == text.replace("mine.py", str(mine))
    assert strategy_from_text(to_text(strategy)) == strategy
    assert strategy_from_description(description_of(strategy)) == strategy
    assert recipe_names(description_of(strategy)) == "mine + part + protect"
    assert strategy_from_text("mcmc + mine.py:Mine") == Chain(
        (Mcmc(), strategy_from_text("mine.py:Mine"))
    )
    with pytest.raises(ValueError, match="cannot stand first"):
        strategy_from_text("mine.py:Part")


def test_what_no_option_can_say_is_named() -> None:
    @dataclasses.dataclass(frozen=True)
    class Odd(Wrapper):
        table: Any = None

    odd = Odd(Mcmc(), table={"a": 1})
    with pytest.raises(ValueError, match="no option can say that table is"):
        to_text(odd)
    assert to_text_or_names(odd) == "mcmc + odd" and to_text_or_names(Mcmc(cap=3)) == "mcmc --cap 3"
    assert names(Chain((Fixed(), Protect(Adc())))) == "fixed + adc + protect"
