"""Changes to a run while it trains: what can be turned, what is refused, and that it replays."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from methods import METHODS
from test_checkpoint import at, kill
from torch import Tensor

from splat import api
from splat.comparison.request import DEFAULTS, Request, plan_of
from splat.conformance.trial import Trial, trial
from splat.core.cloud import Cloud
from splat.core.column import Rate
from splat.core.edit import Change, Edit
from splat.core.knobs import Command, Knob, after_changes, knobs, with_knob
from splat.core.model import TrainedModule
from splat.core.objective import Objective, OpacityL1, ScaleL1
from splat.core.step import Step
from splat.core.strategy import Fixed, Strategy, Wrapper, recipe_name_of
from splat.loop import Run, advance
from splat.options import Options, Reading, Watching
from splat.recipes import catalog
from splat.recipes.page import parts
from splat.recipes.recipe import strategy_from_text
from splat.runs import checkpoint
from splat.runs.folder import Folder, read_config
from splat.runs.log import Log, read_log
from splat.runs.replay import read_script
from splat.strategies.budget import Budget
from splat.strategies.mcmc import Mcmc
from splat.strategies.mrnf import Mrnf
from splat.strategies.significance import Significance
from splat.training.stop import Stopped

Outcome = Any
STEPS = 60
Given = Sequence[tuple[int, str, float]]


@contextmanager
def tried(strategy: Strategy, folder: Path, kept: Path) -> Iterator[Trial]:
    """A strategy on trial, its step numbers taken as they are."""
    with trial(strategy, 200, kept, fitted=False, folder=folder) as found:
        yield found


def obeying(given: Given) -> Callable[..., None]:
    """A watcher that makes changes once so many steps are done."""

    def watch(run: Run, step: Step, losses: Mapping[str, Tensor], change: Change) -> None:
        for when, name, value in given:
            if when == run.step:
                run.obey(name, value)

    return watch


def saving(steps: Sequence[int], folder: Path) -> Callable[..., None]:
    """A watcher that writes checkpoints."""

    def watch(run: Run, step: Step, losses: Mapping[str, Tensor], change: Change) -> None:
        if run.step in steps:
            checkpoint.save(run, checkpoint.path_of(folder, run.step))

    return watch


def ended(run: Run, path: Path, *watchers: Callable[..., None], until: int = STEPS) -> bytes:
    """The checkpoint of a run after so many steps."""
    run.watchers = watchers
    while run.step < until:
        advance(run)
    checkpoint.save(run, path)
    return path.read_bytes()


def names(recipe: str) -> list[str]:
    return list(knobs(strategy_from_text(recipe)))


def test_knobs_bear_the_names_of_the_recipe() -> None:
    found = knobs(strategy_from_text("mrnf + renew").scheduled(3000))
    assert found["mrnf.cap"] == Knob(1_000_000, True, "Most rows the cloud may grow to.")
    assert found["significance.keep"] == Knob(0.8, False, "Share of the rows that is kept.")
    assert found["mrnf.refine_until"].value == 2850 and found["mrnf.noise"].value == 6.0
    # Neither texts, nor tuples, nor what is not set, nor what a part has from its base.
    for name in ("mrnf.children", "significance.at", "significance.mass", "significance.cap"):
        assert name not in found
    assert "adc.absgrad" not in names("adc")
    twice = names("mrnf + significance --keep 0.5 + significance --keep 0.6")
    assert twice[-6:] == [f"significance{n}.{w}" for n in ("", "-2") for w in
                          ("keep", "decay", "views")]  # fmt: skip
    assert {"taming.cap", "taming.terms.depth"} <= set(names("taming"))
    beside = names("adc --reset-every 0 + mrnf + blur-split + budget --rows 9k")
    heads = list(dict.fromkeys(name.partition(".")[0] for name in beside))
    assert heads == ["adc", "mrnf", "blur-split", "budget"]
    assert not knobs(Fixed())


def test_parts_are_called_as_the_command_line_offers_them() -> None:
    for name, kind in {**catalog.methods(), **catalog.parts()}.items():
        assert recipe_name_of(kind) == name
    strategy = strategy_from_text("( mcmc + freeze ) + protect + budget")
    heads = [name.partition(".")[0] for name in knobs(strategy)]
    listed = [recipe_name_of(type(part)) for part in parts(strategy)]
    assert [each for each in listed if each in heads] == list(dict.fromkeys(heads))


@dataclass(frozen=True)
class Odd(Wrapper):
    """Fields of many types."""

    ratio: float | int = 1
    """A ratio, e.g. of A and B (Rota et al. 2024). More on it."""
    maybe: int | None = None
    flag: bool = True
    word: str = "a"
    weight: float = 0.0

    def objectives(self) -> Mapping[str, Objective]:
        return {"odd": OpacityL1(self.weight)} if self.weight else {}


def test_fields_of_every_kind() -> None:
    found = knobs(Odd())
    assert found == {
        "odd.ratio": Knob(1, False, "A ratio, e.g. of A and B (Rota et al. 2024)."),
        "odd.weight": Knob(0.0, False, ""),
    }
    # What is not set has no value to show, and can be set.
    assert with_knob(Odd(), "odd.maybe", 3.0) == Odd(maybe=3)
    assert type(vars(with_knob(Odd(), "odd.ratio", 2))["ratio"]) is float


def test_turning_changes_one_field_wherever_it_lies() -> None:
    strategy = strategy_from_text("mrnf + ( taming --reset-every 0 + renew ) + budget")
    again = with_knob(strategy, "taming.terms.depth", 7)
    assert knobs(again) == {**knobs(strategy), "taming.terms.depth":
                            replace(knobs(strategy)["taming.terms.depth"], value=7.0)}  # fmt: skip
    deep = Significance(Significance(Mrnf(cap=50), keep=0.5), keep=0.6)
    assert with_knob(deep, "significance-2.keep", 0.7) == replace(deep, keep=0.7)
    assert with_knob(deep, "mrnf.cap", 9.0) == Significance(
        Significance(Mrnf(cap=9), keep=0.5), keep=0.6
    )


@pytest.mark.parametrize(
    ("recipe", "name", "value", "words"),
    [
        ("mcmc", "mcmc.capp", 3, r"there is no 'mcmc.capp' to change; perhaps you meant mcmc.cap"),
        ("mrnf + renew", "cap", 3, "perhaps you meant mrnf.cap"),
        ("mrnf + renew", "keeps", 3, r"there are mrnf\.cap, .*, significance.views, rate"),
        ("mcmc", "mcmc.cap", 0.5, "mcmc.cap is 0.5, expected a whole number"),
        ("mcmc", "mcmc.cap", float("nan"), "mcmc.cap is nan, expected a finite number"),
        ("mcmc", "mcmc.noise", float("inf"), "mcmc.noise is inf, expected a finite number"),
        ("mcmc", "mcmc.cap", 10**400, "mcmc.cap is too large, expected a finite number"),
        ("mcmc", "mcmc.cap", True, "mcmc.cap is True, expected a number"),
        ("mcmc", "mcmc.cap", "9", "mcmc.cap is '9', expected a number"),
        ("mcmc", "mcmc.cap", 0, "cap is 0; expected 1 or more"),
        ("taming", "taming.terms.depth", -1, "depth is -1; expected 0 or more"),
        ("adc", "adc.dense_share", 0, "dense_share is 0; expected above 0"),
        ("mrnf", "mrnf.edge", 0.25, "mrnf.edge cannot become 0.25 .* things of the renderer"),
        ("adc", "adc.split_screen_px", 60, "cannot become 60 .* other statistics of rows"),
        ("mcmc + fixed", "rate", 2, "there is no 'rate'"),
        ("adc --reset-every 0 + mcmc", "adc.reset_every", 9, "makes all rows faint now and then"),
        ("mcmc + significance --keep 0.5 --how shrink", "significance.mass", 0.5, "are both given"),
    ],
)
def test_refusals(recipe: str, name: str, value: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        with_knob(strategy_from_text(recipe), name, value)
    assert "\n" not in str(caught.value)


def test_a_term_of_the_loss_may_not_come_or_go() -> None:
    with pytest.raises(ValueError, match="other terms of the loss from its start"):
        with_knob(Odd(), "odd.weight", 1)


def test_a_script_is_checked_in_the_order_of_its_steps() -> None:
    script = [Command(9, "significance.mass", 0.5), Command(5, "significance.keep", 0.5)]
    first = Significance(Mrnf())
    assert after_changes(first, script[:1]) == replace(first, mass=0.5)
    with pytest.raises(ValueError, match=r"change of significance\.mass at step 9 does not fit"):
        after_changes(first, script)
    with pytest.raises(ValueError, match=r"change of rate at step 1 .* rate is 0, expected"):
        after_changes(first, [Command(1, "rate", 0)])


MCMC = Mcmc(cap=900, refine_from=10, refine_until=150, refine_every=10, growth=1.3)
RENEWED = Significance(
    Mrnf(cap=800, refine_from=5, refine_every=10, grow_until=150, run_steps=200),
    "mini", at=(20, 45), keep=0.8, views=3,
)  # fmt: skip
CHANGED: dict[str, tuple[Strategy, Given]] = {
    "mcmc": (
        MCMC,
        [(12, "rate", 0.3), (12, "mcmc.cap", 400), (33, "mcmc.opacity_weight", 0.05),
         (33, "rate", 0.7), (33, "rate", 0.3), (33, "mcmc.cap", 700)],
    ),
    "renewed": (
        RENEWED,
        [(12, "mrnf.cap", 500), (33, "significance.keep", 0.5), (33, "mrnf.opacity_leak", 0.01)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGED)
def test_resumed_and_replayed_runs_end_with_the_same_bytes(
    name: str, trial_folder: Path, tmp_path: Path
) -> None:
    strategy, given = CHANGED[name]
    with tried(strategy, trial_folder, tmp_path / "kept") as trial_:
        cuts = (25, 33)
        first = trial_.run()
        whole = ended(first, tmp_path / "whole.pt", obeying(given), saving(cuts, tmp_path))
        assert [(c.step, c.name, c.value) for c in first.commands] == list(given)
        assert first.strategy != strategy and trial_.run().commands == []
        for cut in cuts:
            # That of step 33 was saved after its changes.
            state = checkpoint.load(checkpoint.path_of(tmp_path, cut))
            assert state["version"] == 2 and len(state["commands"]) == sum(
                step <= cut for step, *_ in given
            )
            resumed = trial_.resumed(state)
            assert ended(resumed, tmp_path / "resumed.pt", obeying(given)) == whole
            resumed = trial_.resumed(state)
            resumed.script = first.commands
            assert ended(resumed, tmp_path / "resumed.pt") == whole
            assert [c.before for c in resumed.commands] == [c.before for c in first.commands]
        replayed = trial_.run()
        replayed.script = first.commands
        (tmp_path / "replay").mkdir()
        saved = saving(cuts, tmp_path / "replay")
        assert ended(replayed, tmp_path / "replayed.pt", saved) == whole
        # Here the changes of step 33 come after its checkpoint.
        state = checkpoint.load(checkpoint.path_of(tmp_path / "replay", 33))
        assert len(state["commands"]) < len(given)
        resumed = trial_.resumed(state)
        resumed.script = first.commands
        assert ended(resumed, tmp_path / "resumed.pt") == whole


def test_without_changes_a_checkpoint_is_one_of_before(trial_folder: Path, tmp_path: Path) -> None:
    with tried(MCMC, trial_folder, tmp_path / "kept") as trial_:
        plain = ended(trial_.run(), tmp_path / "plain.pt", until=15)
        state = checkpoint.load(tmp_path / "plain.pt")
        assert state["version"] == 1 and "commands" not in state
        assert (
            ended(trial_.run(), tmp_path / "a.pt", obeying([(9, "rate", 0.5)]), until=15) != plain
        )
        # A change to what is there already changes nothing but the record of it.
        same = ended(trial_.run(), tmp_path / "b.pt", obeying([(9, "mcmc.cap", 900)]), until=15)
        other = checkpoint.load(tmp_path / "b.pt")
        assert same != plain and other["commands"] == [[9, "mcmc.cap", 900]]
        for name, values in checkpoint.rows(state).items():
            assert torch.equal(values, checkpoint.rows(other)[name])


def test_a_change_that_is_refused_changes_nothing(trial_folder: Path, tmp_path: Path) -> None:
    with tried(MCMC, trial_folder, tmp_path / "kept") as trial_:
        run = trial_.run()
        for name, value in (("mcmc.cap", 0.5), ("rate", 0), ("rate", 101), ("rate", float("nan"))):
            with pytest.raises(ValueError, match=f"{name} is"):
                run.obey(name, value)
        assert (run.strategy, run.rate, run.commands) == (MCMC, 1.0, [])
        run.step = run.steps
        with pytest.raises(ValueError, match="step 200 was the last of the run"):
            run.obey("rate", 0.5)
        state: dict[str, Any] = {"step": 3, "commands": [[2, "adc.cap", 5]]}
        saved = trial_.run()
        checkpoint.save(saved, tmp_path / "x.pt")
        with pytest.raises(ValueError, match=r"change of adc\.cap at step 2.* perhaps you meant"):
            checkpoint.restore(trial_.run(), {**checkpoint.load(tmp_path / "x.pt"), **state})


def test_terms_of_the_loss_follow(trial_folder: Path, tmp_path: Path) -> None:
    with tried(MCMC, trial_folder, tmp_path / "kept") as trial_:
        run = trial_.run()
        photometric = run.objectives["photometric"]
        taken = run.obey("mcmc.scale_weight", 1)
        assert taken == Command(0, "mcmc.scale_weight", 1.0) and taken.before == 0.01
        assert list(run.objectives) == ["photometric", "opacity", "scale"]
        assert run.objectives["photometric"] is photometric
        assert run.objectives["opacity"] == OpacityL1(0.01)
        assert run.objectives["scale"] == ScaleL1(1.0)


def test_half_the_rate_is_half_of_a_step_of_adam() -> None:
    """By hand: moments 0.1 g and 0.001 g^2, corrected to g and g^2, so that a step is the rate."""
    moves = []
    for scale in (1.0, 0.5):
        cloud = Cloud()
        cloud.add("x", torch.tensor([3.0, -4.0]), Rate(0.25))
        cloud.add("y", torch.zeros(2, 3), Rate(0.5, end=0.125, steps=10))
        cloud.rate_scale = scale
        for column in (cloud["x"], cloud["y"]):
            column.grad = torch.full_like(column, 2.0)
        cloud.optimize(5)
        assert cloud.rate("x", 5) == scale * 0.25
        assert cloud.rate("y", 5) == pytest.approx(scale * 0.25)
        moves.append((cloud["x"].detach() - torch.tensor([3.0, -4.0]), cloud["y"].detach()))
    assert torch.allclose(moves[0][0], torch.full((2,), -0.25))
    for whole, half in zip(*moves, strict=True):
        assert torch.allclose(half, whole / 2, rtol=1e-5, atol=0)


def test_the_rate_is_that_of_networks_too_and_stays_as_planned_there() -> None:
    module = torch.nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.SGD(
        [{"params": [module.weight], "lr": 0.5}, {"params": [], "lr": 0.1}], lr=9.0
    )
    part, before = TrainedModule(module, optimizer), module.weight.item()
    module.weight.grad = torch.ones(1, 1)
    part.optimize(0, 0.25)
    assert module.weight.item() == pytest.approx(before - 0.125)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.1]


STAYING = ("fixed", "adc_pool")
"""Methods that end with as many rows as they begin with."""
GROWING = {
    **{name: method for name, method in METHODS.items() if name not in STAYING},
    "budget": Budget(METHODS["adc"], rows=900, curve="sqrt", grow_from=10, grow_until=150),
    "chain": strategy_from_text(
        "adc --cap 3000 --reset-every 0 --grow-gradient 1e-3 --refine-from 5 --refine-every 20"
        " + mrnf --cap 3000 --refine-from 10 --refine-every 20 + blur-split --share 1e-3"
        " --refine-every 15 --refine-from 5 --views 2"
    ),
}
LOWERED, UNTIL = 42, 112


@pytest.mark.parametrize("name", GROWING)
def test_a_cap_below_what_there_is_lets_no_row_be_born_beyond_it(
    name: str, trial_folder: Path, tmp_path: Path
) -> None:
    with tried(GROWING[name], trial_folder, tmp_path) as trial_:
        run = trial_.run()
        trial_.followed(run, LOWERED, printed=False)
        rows = len(run.model.cloud)
        caps = [each for each in knobs(run.strategy) if each.endswith((".cap", "budget.rows"))]
        cap = max(1, rows // 3)
        for each in caps:
            run.obey(each, cap)
        record = trial_.followed(run, UNTIL, printed=False)
        assert not record.unsound and min(record.counts) > 0
        for before, after in pairwise([rows, *record.counts]):
            assert after <= max(before, cap)
        # Without the change there are more.
        left = trial_.followed(trial_.run(), UNTIL, printed=False)
        assert max(left.counts[LOWERED:]) > rows


def test_the_log_has_a_line_for_every_change(trial_folder: Path, tmp_path: Path) -> None:
    path, saved = tmp_path / "log.jsonl", tmp_path / "saved"
    given: Given = [(10, "rate", 0.5), (14, "mcmc.cap", 300.0)]
    with tried(MCMC, trial_folder, tmp_path / "kept") as trial_:
        run = trial_.run()
        with closing(Log(path)) as log:
            ended(run, tmp_path / "a.pt", log, saving((14,), saved), obeying(given), until=22)
        records = [record for record in read_log(path) if "command" in record]
        assert [list(record) for record in records] == [
            ["step", "gaussians", "seconds", "command"]
        ] * 2
        assert [(r["step"], r["command"]) for r in records] == [
            (10, {"name": "rate", "value": 0.5, "before": 1.0}),
            (14, {"name": "mcmc.cap", "value": 300, "before": 900}),
        ]
        counts = {r["step"]: (r["before"], r["gaussians"]) for r in read_log(path) if "counts" in r}
        assert records[0]["gaussians"] == counts[20][0] == 240
        steps = [record["step"] for record in read_log(path)]
        assert steps == sorted(steps)
        assert read_script(path) == tuple(run.commands) == read_script(tmp_path)
        # The checkpoint of step 14 was written before the change, which the resumed run is without.
        before = checkpoint.load(checkpoint.path_of(saved, 14))
        resumed = trial_.resumed(before)
        with closing(Log(path, resumed.step)) as log:
            ended(resumed, tmp_path / "b.pt", log, obeying([(15, "rate", 2)]), until=18)
        assert [(c.step, c.value) for c in read_script(path)] == [(10, 0.5), (15, 2.0)]
        # One that stopped right after a change had not logged it yet.
        checkpoint.save(resumed, tmp_path / "c.pt")
        with closing(Log(path, 18)):
            resumed.obey("mcmc.cap", 400)
            checkpoint.save(resumed, tmp_path / "c.pt")
        again = trial_.resumed(checkpoint.load(tmp_path / "c.pt"))
        with closing(Log(path, 18)) as log:
            ended(again, tmp_path / "d.pt", log, until=20)
        assert read_script(path) == tuple(again.commands)


def test_time_in_which_a_run_was_paused_does_not_count(trial_folder: Path, tmp_path: Path) -> None:
    with tried(MCMC, trial_folder, tmp_path / "kept") as trial_:
        run = trial_.run()
        with closing(Log(tmp_path / "log.jsonl", spent=50.0)) as log:
            ended(run, tmp_path / "a.pt", log, until=10)
            run.waited = 20.0
            assert 30 < log.head(run)["seconds"] < 40 and 30 < log.seconds < 40


def changed(scene: Path, out: Path, given: Given, *watchers: Any, **options: Any) -> api.Result:
    """A run of 40 steps on the tiny scene with changes."""
    return api.train(
        api.load(scene),
        replace(MCMC, cap=700),
        Options(steps=40, max_side=0, schedule="published", threads=2, **options),
        out=out,
        watching=Watching(quiet=True, pictures=False),
        reading=Reading(),
        watchers=(obeying(given), *watchers),
        lpips=None,
    )


ASKED = (
    "--steps", 40, "--max-side", 0, "--schedule", "published", "--no-pictures", "--quiet",
    "mcmc", "--cap", 700, "--refine-from", 10, "--refine-until", 150, "--refine-every", 10,
    "--growth", 1.3,
)  # fmt: skip


def test_the_command_line_replays_and_resumes(
    tiny_folder: Path, tmp_path: Path, splat: Callable[..., Outcome]
) -> None:
    given: Given = [(8, "mcmc.cap", 560), (8, "rate", 0.5), (25, "mcmc.cap", 650)]
    first = changed(tiny_folder, tmp_path / "first", given)
    commands = [dict(zip(("step", "name", "value"), each, strict=True)) for each in given]
    wanted = [{**c, "before": b} for c, b in zip(commands, (700, 1.0, 560), strict=True)]
    assert first.metrics["commands"] == wanted
    assert first.metrics["gaussians"] == 650
    last = Folder(tmp_path / "first").latest().read_bytes()

    replayed = splat("train", tiny_folder, "--out", "again", "--replay", "first", *ASKED)
    assert replayed.code == 0
    assert "changed while it trained: mcmc.cap 560 at step 8, rate 0.5 at step 8" in replayed.said
    assert Folder(tmp_path / "again").latest().read_bytes() == last
    assert read_script(tmp_path / "again") == read_script(tmp_path / "first")
    assert json.loads((tmp_path / "again/metrics.json").read_text())["commands"] == wanted

    with pytest.raises(Stopped):
        changed(
            tiny_folder, tmp_path / "part", (), at(20, kill(signal.SIGTERM)),
            replay=tmp_path / "first/log.jsonl",
        )  # fmt: skip
    # What is to come is kept with the run, wherever it is and whatever becomes of the first.
    shutil.rmtree(tmp_path / "first")
    moved = shutil.move(tmp_path / "part", tmp_path / "moved")
    assert read_config(moved / "config.json").options.replay == moved / "replay.jsonl"
    assert splat("resume", moved, "--quiet").code == 0
    assert Folder(moved).latest().read_bytes() == last
    assert splat("eval", moved, "--net", "none", "--quiet").code == 0


def test_what_cannot_be_replayed_is_said_at_once(
    tiny_folder: Path, tmp_path: Path, splat: Callable[..., Outcome]
) -> None:
    changed(tiny_folder, tmp_path / "first", [(5, "mcmc.cap", 600)])
    assert "commands" not in changed(tiny_folder, tmp_path / "plain", ()).metrics
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"step": 5, "command": {"name": "rate", "value": "half"}}\n')
    binary = tmp_path / "binary.jsonl"
    binary.write_bytes(b"\xff\xfe")
    for replay, method, words in (
        ("first", "adc", "change of mcmc.cap at step 5 does not fit this run: there is no"),
        ("plain", "mcmc", "plain has no change to replay; expected a run that was changed"),
        ("nowhere", "mcmc", "nowhere does not exist; expected the folder of a run"),
        (tmp_path, "mcmc", "log.jsonl does not exist; expected the folder of a run"),
        (broken, "mcmc", "the change at step 5: has `value`: 'half'; expected a number"),
        (binary, "mcmc", "binary.jsonl has no change to replay"),
    ):
        refused = splat(
            "train", tiny_folder, "--out", "out", "--steps", 9, "--replay", replay, method
        )
        assert refused.code == 2 and words in refused.said and "Traceback" not in refused.said
        assert not (tmp_path / "out").exists()
    asked = Request(scenes=(tiny_folder,), options=replace(DEFAULTS, replay=tmp_path / "first"))
    with pytest.raises(ValueError, match="a comparison has no replay"):
        plan_of(asked, tmp_path / "comparison")


def test_edits_stay_those_of_the_strategy_at_hand(trial_folder: Path, tmp_path: Path) -> None:
    """A change at a step holds for all of that step, its edit included, and not before."""
    asked: list[tuple[int, int]] = []

    @dataclass(frozen=True)
    class Noting(Strategy):
        cap: int = 7

        def refine(self, step: Step) -> Edit | None:
            asked.append((step.number, self.cap))
            return None

    with tried(Noting(), trial_folder, tmp_path / "kept") as trial_:
        run = trial_.run()
        run.script = (Command(0, "noting.cap", 8), Command(2, "noting.cap", 9))
        ended(run, tmp_path / "a.pt", obeying([(4, "noting.cap", 5)]), until=6)
    assert asked == [(0, 8), (1, 8), (2, 9), (3, 9), (4, 5), (5, 5)]
