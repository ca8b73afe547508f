"""`splat compare`: plans, runs that go on where they stopped, tables, and the report."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splat import api
from splat.comparison import page, runs
from splat.comparison.asked import budget_text, budgets_of, recipes_of, seeds_of, slug
from splat.comparison.compare import compare, read
from splat.comparison.crops import farthest
from splat.comparison.drawing import apart
from splat.comparison.plan import Ask, Entrant, Entry, Plan, Scene, Shared, read_plan
from splat.comparison.report import summary_text, write_report
from splat.comparison.request import Request
from splat.comparison.results import Outcome
from splat.comparison.runs import Note
from splat.comparison.table import FIGURES, best, lines, over_scenes
from splat.comparison.text import text_table
from splat.jobs import Interrupted, Share, share_of
from splat.options import Options, Reading
from splat.strategies.mcmc import Mcmc
from splat.system import machine
from splat.types import SceneData

Splat = Callable[..., Any]

STEPS = 30
OPTIONS = Options(steps=STEPS, max_side=0, resolution="full", schedule="published")
MCMC = Mcmc(refine_from=5, refine_until=25, refine_every=5, growth=1.1)
HOOK = "SPLAT_TEST_HOOK"
PLUGIN = f'''
import os, signal, time
from dataclasses import dataclass
from splat.core.strategy import Strategy


@dataclass(frozen=True)
class Hooked(Strategy):
    """Leaves all as it is, but does at a step what the environment says."""

    def refine(self, step):
        what, _, at = os.environ.get("{HOOK}", "").partition("@")
        if what == "slow":
            time.sleep(0.5)
        elif what and step.number == int(at):
            if what == "raise":
                raise KeyError("no such thing in /home/someone/place.txt")
            os.kill(os.getpid(), signal.SIGTERM)


@dataclass(frozen=True)
class Dying(Strategy):
    """Takes its process with it."""

    def refine(self, step):
        os.kill(os.getpid(), signal.SIGKILL)
'''


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A strategy that can be told to fail."""
    path = tmp_path_factory.mktemp("plugins") / "hooked.py"
    path.write_text(PLUGIN)
    return f"{path}:Hooked"


@pytest.fixture(scope="module")
def request_of(tiny_folder: Path, plugin: str) -> Request:
    """Two strategies, two seeds, few steps."""
    return Request(
        scenes=(tiny_folder,),
        strategies={"mcmc": MCMC, "hooked": plugin},
        budgets=(600,),
        seeds=(0, 1),
        options=OPTIONS,
        eval_every=10,
        net="none",
    )


@pytest.fixture(scope="module")
def whole(request_of: Request, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a comparison that nothing interrupted; not to be changed."""
    out = tmp_path_factory.mktemp("compared") / "whole"
    compare(request_of, out, workers=0, threads=2, quiet=True)
    write_report(read(out), out)
    return out


def states(out: Path) -> list[str]:
    return [outcome.state for outcome in read(out).outcomes]


def checkpoints(out: Path) -> dict[str, bytes]:
    """The last state of every run."""
    return {
        f"{path.parent.parent.name}/{path.name}": path.read_bytes()
        for path in sorted(out.glob("runs/*/*/checkpoints/*.pt"))
    }


# What is typed


def test_strategies_are_split_at_commas_that_are_in_no_brackets_and_no_quotes() -> None:
    found = recipes_of(["adc,mcmc  --cap 3k + protect --rule 'a,b'", "x y = adc + (fixed, no)"])
    assert found == {
        "adc": "adc",
        "mcmc --cap 3k + protect --rule 'a,b'": "mcmc  --cap 3k + protect --rule 'a,b'",
        "x y": "adc + (fixed, no)",
    }
    assert recipes_of(["mcmc --cap=3k,'adc',adc"]) == {
        "mcmc --cap=3k": "mcmc --cap=3k",
        "adc": "adc",
    }
    with pytest.raises(ValueError, match="two strategies are called 'a'"):
        recipes_of(["a=mcmc,a=adc"])
    with pytest.raises(ValueError, match="half there"):
        recipes_of(["a="])
    with pytest.raises(ValueError, match="close it"):
        recipes_of(["mcmc + (adc"])


def test_seeds_and_budgets() -> None:
    assert seeds_of("3") == (0, 1, 2) and seeds_of("4,1,4") == (4, 1) and seeds_of("7,") == (7,)
    assert budgets_of("25k, 1.5M,own,25000", 3) == (25_000, 1_500_000, 0)
    assert [budget_text(n) for n in (0, 950, 25_000, 1_500_000, 123_456)] == [
        "own", "950", "25k", "1.5M", "123456",
    ]  # fmt: skip
    for text in ("0", "-1", "many", ","):
        with pytest.raises(ValueError, match="seeds is"):
            seeds_of(text)
    with pytest.raises(ValueError, match="no whole number"):
        budgets_of("lots", 3)


def test_names_of_files_are_plain_and_tell_recipes_apart() -> None:
    assert slug("mcmc + significance --keep 0.6") == "mcmc+significance-keep-0.6"
    assert slug("../a/b: c") == "a-b-c"
    long = ["mcmc " + 30 * "x y " + end for end in "ab"]
    assert len({slug(name) for name in long}) == 2 and all(len(slug(n)) < 80 for n in long)


# Means and ranks, by hand


def plan_of(names: Sequence[str], scenes: Sequence[str], seeds: Sequence[int]) -> Plan:
    shared = Shared(OPTIONS, Reading(), 10, "none", "cpu", "1")
    return Plan(
        shared,
        tuple(Scene(name, Path(name), "colmap", 10, 2, 500, name) for name in scenes),
        tuple(Entrant(name, name, {}, 0.1, 1.0) for name in names),
        (Ask(tuple(scenes), tuple(names), (1000,), tuple(seeds)),),
    )


def outcomes_of(psnr: dict[tuple[str, str], Sequence[float | None]]) -> list[Outcome]:
    """Runs by (scene, strategy), seed by seed; None: it failed."""
    found = []
    for (scene, name), values in psnr.items():
        for seed, value in enumerate(values):
            entry = Entry(scene, name, 1000, seed)
            if value is None:
                found.append(Outcome(entry, "failed", Note(failed="no")))
                continue
            figures: dict[str, float | None] = dict.fromkeys((f.name for f in FIGURES), 1.0)
            figures |= {"psnr": value, "gaussians": 1000, "peak_gaussians": 1000, "start": 500}
            found.append(Outcome(entry, "done", Note((1,)), figures))
    return found


def test_means_deviations_differences_and_ranks_by_hand() -> None:
    plan = plan_of(("a", "b", "c", "d"), ("room",), (0, 1, 2))
    found = outcomes_of(
        {
            ("room", "a"): (20.0, 22.0, 24.0),
            ("room", "b"): (20.5, 23.0, 25.5),
            ("room", "c"): (22.0, None, 22.0),
            ("room", "d"): (None, None, None),
        }
    )
    a, b, c, d = lines(plan, found, "a")
    assert [line.stats["psnr"].mean for line in (a, b, c)] == [22, 23, 22]
    assert [line.stats["psnr"].sd for line in (a, b, c)] == [2, 2.5, 0]
    assert [line.rank for line in (a, b, c, d)] == [2, 1, 2, None]  # equal means share a rank
    # Seed by seed: 0.5, 1, 1.5; and of the seeds that both have: 2, -2.
    assert b.delta is not None and (b.delta.mean, b.delta.sd, b.delta.count) == (1, 0.5, 3)
    assert c.delta is not None and c.delta.mean == 0
    assert c.delta.sd == pytest.approx(math.sqrt(8)) and c.delta.count == 2
    assert (c.asked, c.done, c.failed) == (3, 2, 1) and (d.done, d.failed) == (0, 3)
    assert d.stats == {} and d.delta is None
    assert best([a, b, c], FIGURES[0]) == 23 and best([a], FIGURES[0]) is None
    table = text_table([a, b, c, d], "a").splitlines()
    assert [row.split()[:2] for row in table[1:]] == [
        ["1", "b"],
        ["2", "a"],
        ["2", "c"],
        ["–", "d"],
    ]
    assert "+1.00 ± 0.50" in table[1] and "2 of 3" in table[3]
    single = lines(plan_of(("a",), ("room",), (0,)), outcomes_of({("room", "a"): (20.0,)}), "a")
    assert single[0].stats["psnr"].sd is None


def test_a_mean_over_scenes_is_over_the_same_scenes_for_all() -> None:
    plan = plan_of(("a", "b"), ("room", "lawn"), (0, 1))
    found = outcomes_of(
        {
            ("room", "a"): (20.0, 22.0), ("lawn", "a"): (30.0, 30.0),
            ("room", "b"): (21.0, 28.0), ("lawn", "b"): (33.0, None),
        }
    )  # fmt: skip
    a, b = over_scenes(plan, found, "a")
    assert (a.stats["psnr"].mean, a.done) == (25.5, 2) and a.stats["psnr"].sd == math.sqrt(0.5)
    assert (b.stats["psnr"].mean, b.stats["psnr"].sd, b.done) == (27, None, 1)
    assert b.delta is not None and b.delta.mean == 2 and (a.rank, b.rank) == (2, 1)


def test_runs_off_the_budget_are_marked() -> None:
    plan = plan_of(("a",), ("room",), (0, 1))

    def marks(counts: Sequence[tuple[int, int]], budget: int = 1000) -> tuple[str, ...]:
        found = outcomes_of({("room", "a"): (20.0, 20.0)})
        changed = [
            replace(
                outcome,
                entry=replace(outcome.entry, budget=budget),
                figures={**outcome.figures, "gaussians": last, "peak_gaussians": most},
            )
            for outcome, (last, most) in zip(found, counts, strict=True)
        ]
        ask = replace(plan.asks[0], budgets=(budget,))
        return lines(replace(plan, asks=(ask,)), changed, "a")[0].marks

    assert marks([(990, 1000), (1000, 1000)]) == ()
    assert marks([(989, 1000), (850, 1000)]) == ("ended at 85.0 to 98.9 % of the budget",)
    assert marks([(1000, 1001), (1000, 1000)]) == ("had up to 100.1 % of the budget",)
    assert marks([(5, 5000), (7, 7000)], budget=0) == ()


def test_labels_keep_their_order_and_their_distance() -> None:
    draw = np.random.default_rng(0)
    for _ in range(20):
        values = draw.uniform(0, 100, 9).tolist()
        found = np.array(apart(values, 8, 0, 100))
        order = np.argsort(values)
        assert (np.diff(found[order]) >= 8 - 1e-9).all()
        assert found.min() >= -1e-9 and found.max() <= 100 + 1e-9
    assert apart([10, 50, 90], 8, 0, 100) == [10, 50, 90]
    assert apart([50, 50], 8, 0, 100) == [46, 54]


def test_the_crop_is_where_errors_are_farthest_apart() -> None:
    draw = np.random.default_rng(1)
    first, second = (draw.uniform(0, 0.1, (70, 90)).astype(np.float32) for _ in range(2))
    first[15:40, 30:60] += 0.4
    score, rows, columns = farthest([first, second])
    side = 48
    tried = {
        (top, left): abs(
            math.sqrt(float(first[top : top + side, left : left + side].mean(dtype=np.float64)))
            - math.sqrt(float(second[top : top + side, left : left + side].mean(dtype=np.float64)))
        )
        for top in range(70 - side + 1)
        for left in range(90 - side + 1)
    }
    place = max(tried, key=lambda key: tried[key])
    assert (rows.start, columns.start) == place and rows.stop - rows.start == side
    assert score == pytest.approx(tried[place])


# Whole comparisons


def test_a_comparison_from_end_to_end(whole: Path) -> None:
    found = read(whole)
    assert [outcome.state for outcome in found.outcomes] == ["done"] * 4
    order = [(outcome.entry.seed, outcome.entry.entrant) for outcome in found.outcomes]
    assert order == [(0, "mcmc"), (0, "hooked"), (1, "mcmc"), (1, "hooked")]
    for outcome in found.outcomes:
        assert [step for step, _, _ in outcome.looks] == [10, 20, 30]
        assert outcome.looks[-1][2] == outcome.figures["psnr"]
        assert outcome.figures["start"] == 500 and outcome.figures["memory"] is None
        share, peak = outcome.figures["share"], outcome.figures["peak_gaussians"]
        assert share is not None and 0 <= share < 1
        assert peak is not None and peak <= 600
    mcmc, hooked = lines(found.plan, found.outcomes, "mcmc")
    assert mcmc.stats["gaussians"].mean == 600 and mcmc.marks == ()
    assert hooked.marks == ("ended at 83.3 % of the budget",)


def test_runs_share_the_order_of_photos_and_are_ordinary_folders(
    whole: Path, splat: Splat, tmp_path: Path
) -> None:
    def views(name: str) -> list[str]:
        log = (whole / "runs" / whole_scene(whole) / name / "log.jsonl").read_text()
        return [r["view"] for r in map(json.loads, log.splitlines()) if "view" in r]

    assert views("mcmc-600-seed0") == views("hooked-600-seed0") != views("mcmc-600-seed1")
    place = tmp_path / "run"
    shutil.copytree(whole / "runs" / whole_scene(whole) / "mcmc-600-seed1", place)
    known = json.loads((place / "metrics.json").read_text())
    outcome = splat("eval", place, "--json", "--quiet", "--net", "none")
    assert outcome.code == 0 and json.loads(outcome.out)["psnr"] == pytest.approx(known["psnr"])
    assert json.loads((place / "config.json").read_text())["options"]["seed"] == 1


def test_a_run_whose_last_file_is_there_has_not_failed(whole: Path, tmp_path: Path) -> None:
    """Though the disk failed after that file was in its place."""
    out = tmp_path / "done"
    shutil.copytree(whole, out)
    plan = read_plan(out)
    assert plan is not None
    runs.failed(out, plan.entries()[0], "the disk reports an error")
    outcome = read(out).outcomes[0]
    assert (outcome.state, outcome.note.failed) == ("done", "")


def whole_scene(out: Path) -> str:
    plan = read_plan(out)
    assert plan is not None
    return slug(plan.scenes[0].name)


def test_an_interrupted_comparison_goes_on_to_the_same_bytes(
    whole: Path, request_of: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "broken"
    monkeypatch.setenv(HOOK, "stop@17")
    with pytest.raises(Interrupted) as caught:
        compare(request_of, out, workers=0, threads=2, quiet=True)
    assert caught.value.number == signal.SIGTERM
    assert states(out) == ["done", "begun", "waiting", "waiting"]
    assert [name for name in checkpoints(out) if "hooked" in name] == [
        "hooked-600-seed0/step_00000018.pt"
    ]
    monkeypatch.delenv(HOOK)
    compare(Request(), out, workers=0, threads=2, quiet=True)
    assert states(out) == ["done"] * 4
    assert checkpoints(out) == checkpoints(whole)

    def figures(place: Path) -> list[Any]:
        return [(o.figures["psnr"], o.figures["ssim"]) for o in read(place).outcomes]

    assert figures(out) == figures(whole)


def test_more_seeds_extend_a_comparison_and_nothing_is_done_twice(
    whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "more"
    shutil.copytree(whole, out)
    before = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/*/metrics.json")}
    compare(Request(seeds=(0, 4)), out, workers=0, threads=2, quiet=True)
    assert {path: path.stat().st_mtime_ns for path in before} == before and len(before) == 4
    found = read(out)
    assert [o.entry.seed for o in found.outcomes] == [0, 0, 1, 1, 4, 4]
    assert all(o.state == "done" and len(o.note.at_once) == 1 for o in found.outcomes)
    compare(Request(strategies={"fixed": "fixed"}, seeds=(4,)), out, workers=0, quiet=True)
    entries = [(o.entry.entrant, o.entry.seed) for o in read(out).outcomes]
    assert entries.count(("fixed", 4)) == 1 and len(entries) == 7


def test_runs_that_are_done_are_measured_off_the_path_and_not_trained_again(
    whole: Path, tmp_path: Path, splat: Splat
) -> None:
    out = tmp_path / "more"
    shutil.copytree(whole, out)
    assert "off path dB" not in (out / "report.html").read_text()
    compare(Request(seeds=(0,), off_path=True), out, workers=0, threads=2, quiet=True)
    assert checkpoints(out) == checkpoints(whole)
    # Every run of the comparison has the figures once it is asked for them anew.
    assert states(out) == ["done", "done", "begun", "begun"]
    compare(Request(), out, workers=0, threads=2, quiet=True)
    assert states(out) == ["done"] * 4 and checkpoints(out) == checkpoints(whole)
    for outcome in read(out).outcomes:
        between = outcome.metrics["off_path"]["between"]
        assert outcome.figures["off_path"] == outcome.metrics["off_path"]["psnr"]
        assert outcome.figures["confirmed"] == between["depth"]
        assert outcome.figures["floating"] == between["floaters"]
        assert len(outcome.note.at_once) == 1  # times are those of training
    write_report(read(out), out)
    report = (out / "report.html").read_text()
    for words in ("off path dB", "confirmed %", "floaters %", "sharpness", "Off the path"):
        assert words in report
    table = splat("compare", "--out", out, "--only-report").out
    assert "off path dB" in table and "confirmed %" in table


def test_what_would_mix_unlike_runs_is_refused(
    whole: Path, tmp_path: Path, tiny_folder: Path
) -> None:
    def refused(request: Request, why: str) -> None:
        with pytest.raises(ValueError, match=why):
            compare(request, whole, workers=0, quiet=True)

    before = sorted(whole.rglob("*"))
    refused(Request(options=replace(OPTIONS, steps=40)), r"--steps 30, now it is 40; unlike runs")
    refused(Request(options=replace(OPTIONS, max_side=48)), "--max-side 0, now it is 48")
    refused(Request(reading=Reading(eval="3")), "--eval auto, now it is 3")
    refused(Request(net="vgg"), "--net none, now it is vgg")
    refused(Request(strategies={"mcmc": "adc"}), "'mcmc' was 'mcmc --.*' before and is 'adc' now")
    refused(Request(options=replace(OPTIONS, minutes=3.0)), "no minutes")
    refused(Request(options=replace(OPTIONS, seed=3)), "given with --seeds")
    assert sorted(whole.rglob("*")) == before
    with pytest.raises(ValueError, match="no view is held out"):
        compare(Request(scenes=(tiny_folder,), reading=Reading(eval="none")), tmp_path / "x")
    with pytest.raises(ValueError, match="no scene to compare on"):
        compare(Request(), tmp_path / "x")
    assert not (tmp_path / "x").exists()
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="no comparison"):
        compare(Request(scenes=(tiny_folder,)), tmp_path)


def test_a_run_of_other_settings_is_refused(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "changed"
    shutil.copytree(whole, out)
    path = out / "runs" / whole_scene(out) / "mcmc-600-seed0" / "config.json"
    config = json.loads(path.read_text())
    config["options"]["ssim_weight"] = 0.5
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"ssim_weight 0\.5, in this comparison it would be 0\.2"):
        compare(Request(), out, workers=0, quiet=True)


def test_another_scene_in_the_same_place_is_refused(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "moved"
    shutil.copytree(whole, out)
    load = api.read_scene

    def fewer(path: Path, reading: Reading) -> SceneData:
        scene = load(path, reading)
        return replace(scene, train=scene.train[1:])

    monkeypatch.setattr(api, "read_scene", fewer)
    compare(Request(seeds=(0, 5)), out, workers=0, quiet=True)
    found = [outcome for outcome in read(out).outcomes if outcome.entry.seed == 5]
    assert [outcome.state for outcome in found] == ["failed", "failed"]
    assert "are not those that the comparison was begun with" in found[0].note.failed


def test_a_failed_run_is_told_and_the_others_go_on(
    request_of: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "failing"
    request = replace(request_of, seeds=(0,), eval_every=0)
    monkeypatch.setenv(HOOK, "raise@5")
    found = compare(request, out, workers=0, threads=2, quiet=True)
    assert [outcome.state for outcome in found.outcomes] == ["done", "failed"]
    assert "no such thing" in found.outcomes[1].note.failed
    monkeypatch.delenv(HOOK)
    assert [o.state for o in compare(Request(), out, workers=0, quiet=True).outcomes] == [
        "done", "failed",
    ]  # fmt: skip
    again = compare(Request(), out, workers=0, threads=2, retry=True, quiet=True)
    assert [outcome.state for outcome in again.outcomes] == ["done", "done"]
    assert again.outcomes[1].note.failed == ""


# Processes


def test_processes_at_once_that_die_or_lose_the_one_that_began_them(
    whole: Path, tiny_folder: Path, plugin: str, tmp_path: Path
) -> None:
    """One run ends well, one is killed; then whoever began them is killed while a third goes on."""
    out = tmp_path / "killed"
    dying = plugin.replace(":Hooked", ":Dying")
    command = [sys.executable, "-m", "splat", "compare", str(tiny_folder), "--out", str(out)]
    command += ["--strategies", f"mcmc,dying={dying},hooked={plugin}", "--budget", "600"]
    command += ["--seeds", "0,", "--steps", str(STEPS), "--max-side", "0", "--eval-every", "10"]
    command += ["--net", "none", "--schedule", "published", "--threads", "1", "--workers", "3"]
    environment = {**os.environ, HOOK: "slow"}
    parent = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    log = out / "runs" / whole_scene(whole) / "hooked-600-seed0" / "log.jsonl"
    wait(lambda: (out / "comparison.json").is_file() and states(out)[:2] == ["done", "failed"])
    wait(lambda: log.is_file() and len(log.read_text()) > 0)
    parent.kill()
    parent.wait()
    # Nothing can be done about SIGKILL, but the process of a run sees that it is alone.
    wait(lambda: any("hooked" in name for name in checkpoints(out)))
    mcmc, dead, hooked = read(out).outcomes
    assert (mcmc.state, dead.state, hooked.state) == ("done", "failed", "begun")
    assert mcmc.note.at_once == (3,) and mcmc.metrics["threads"] == 1
    assert (mcmc.figures["memory"] or 0) > 50
    assert "was killed; perhaps memory" in dead.note.failed
    compare(Request(), out, workers=0, threads=2, quiet=True)
    assert states(out) == ["done", "failed", "done"]
    last = "hooked-600-seed0/step_00000030.pt"
    assert checkpoints(out)[last] == checkpoints(whole)[last]


def wait(happened: Callable[[], bool], seconds: float = 180.0) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def test_two_comparisons_do_not_work_in_one_folder(
    request_of: Request, tmp_path: Path, whole: Path
) -> None:
    pytest.importorskip("fcntl")
    from splat.system.lock import locked

    refused = pytest.raises(ValueError, match=f"another process .{os.getpid()}. works on")
    with locked(whole / ".lock", "it"), refused:
        compare(request_of, whole, workers=0, quiet=True)


def test_as_many_at_once_as_there_are_cores_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 8)
    assert share_of("cpu", None, None, 10) == Share(1, 8)
    assert share_of("cpu", None, 2, 10) == Share(4, 2)
    assert share_of("cpu", 3, None, 10) == Share(3, 2)
    assert share_of("cpu", None, 2, 2) == Share(2, 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert share_of("cuda", None, None, 10) == Share(2, 4, ("2", "5"))
    with pytest.raises(ValueError, match="workers is 3 and there are 2 CUDA devices"):
        share_of("cuda", 3, None, 10)


# The report


class Page(HTMLParser):
    """What a page refers to, its text, and whether all that is opened is closed."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.images: list[str] = []
        self.text = ""
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids += [values["id"] or ""] if "id" in values else []
        self.links += [values["href"] or ""] if "href" in values else []
        self.images += [values["src"] or ""] if "src" in values else []
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def close(self) -> None:
        super().close()
        assert not self._open


def test_the_report_stands_alone(whole: Path, tiny_folder: Path) -> None:
    source = (whole / "report.html").read_text(encoding="utf-8")
    found = Page()
    found.feed(source)
    found.close()
    assert len(found.images) > 10
    assert all(image.startswith("data:image/png;base64,") for image in found.images)
    assert found.links and all(link.removeprefix("#") in found.ids for link in found.links)
    bare = re.sub(r'src="data:[^"]*"', "", source)
    assert not re.search(r"https?:|file:|//|<script|<link|@import|url\(", bare)
    for path in (whole, tiny_folder.parent, Path.home(), Path(sys.prefix), Path.cwd()):
        assert str(path) not in bare
    assert os.uname().nodename not in bare or len(os.uname().nodename) < 5
    assert "hooked.py:Hooked" in found.text and "ended at 83.3 % of the budget" in found.text
    psnr = lines(read(whole).plan, read(whole).outcomes, "mcmc")[0].stats["psnr"].mean
    assert f"{psnr:.2f}" in found.text
    charts = {path.name for path in (whole / "figures").iterdir()}
    scene = whole_scene(whole)
    assert {f"{scene}-600-crop.png", f"{scene}-gaussians.png", f"{scene}-600-psnr-seconds.png",
            f"{scene}-600-edits-mcmc.png"} <= charts  # fmt: skip


def test_tables_read_back(whole: Path) -> None:
    found = read(whole)
    with (whole / "runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["psnr"]) for row in rows] == [o.figures["psnr"] for o in found.outcomes]
    assert [row["strategy"] for row in rows] == ["mcmc", "hooked"] * 2
    assert {row["lpips"] for row in rows} == {""} and {row["state"] for row in rows} == {"done"}
    with (whole / "table.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    group = lines(found.plan, found.outcomes, found.reference)
    assert [row["strategy"] for row in table] == [line.entrant for line in group]
    for row, line in zip(table, group, strict=True):
        assert float(row["psnr"]) == line.stats["psnr"].mean
        assert float(row["psnr_sd"]) == line.stats["psnr"].sd
        assert int(row["rank"]) == line.rank
    results = json.loads((whole / "results.json").read_text())
    assert [run["psnr"] for run in results["runs"]] == [float(row["psnr"]) for row in rows]


def test_of_paths_only_the_last_part_is_shown() -> None:
    said = page.clean("/home/me/a/run is gone; see ~/x/y.txt, C:\\Users\\me\\z.py:Fade & b/c")
    assert said == "run is gone; see y.txt, z.py:Fade &amp; b/c"
    assert page.clean("adc --full 1/2 <b>") == "adc --full 1/2 &lt;b&gt;"


def test_the_command_line(
    splat: Splat, whole: Path, tmp_path: Path, plugin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    monkeypatch.setenv(HOOK, "raise@3")
    outcome = splat("compare", "--out", out, "--seeds", "7,", "--workers", "0", "--json")
    assert outcome.code == 1 and "hooked, 600, seed 7: failed" in outcome.err
    assert [run["state"] for run in json.loads(outcome.out)["runs"]].count("failed") == 1
    said = summary_text(read(out, "hooked"), out).splitlines()
    assert "Δ to hooked" in said[1] and said[-1] == f"report: {out / 'report.html'}"
    assert "place.txt" in (out / "report.html").read_text(encoding="utf-8")
    assert "someone" not in (out / "report.html").read_text(encoding="utf-8")
    outcome = splat("compare", "--out", out, "--only-report", "--reference", "adc")
    assert outcome.code == 2 and "no strategy 'adc'" in outcome.err
    outcome = splat("compare", "--out", tmp_path / "none", "--only-report")
    assert outcome.code == 2 and "holds no comparison" in outcome.err
    outcome = splat("compare", "--out", out, "--strategies", "adk", "--workers", "0")
    assert outcome.code == 2 and "perhaps you meant adc" in outcome.err


def test_help_says_what_is_the_same_for_all(splat: Splat) -> None:
    outcome = splat("compare", "--help")
    assert "--strategies" in outcome.out and "--minutes" not in outcome.out
    assert outcome.out.count("│ --budget ") == 1  # that of the options shared is not offered
