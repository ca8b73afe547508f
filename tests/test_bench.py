"""The parts of the benchmarks that decide what their figures mean."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import common
import in_turns
import ledger
import opensplat
import pytest
import quality
import rounds
import sizes
import torch
import traffic
import workload

from splat import datasets, kernels
from splat.options import Options
from splat.options.reading import Reading
from splat.options.watching import Watching
from splat.runs.folder import Config

BENCH = Path(__file__).resolve().parents[1] / "bench"


def test_a_fit_goes_through_two_measurements() -> None:
    fit = traffic.fitted({1: 10.0, 2: 6.0})
    assert (fit.serial, fit.parallel) == pytest.approx((2.0, 8.0))
    assert fit.serial_share == pytest.approx(0.2)
    assert fit.at(16) == pytest.approx(2.5)


@pytest.mark.parametrize("times", [{1: 5.0, 2: 6.0}, {1: 10.0, 2: 4.0}, {2: 3.0}])
def test_no_part_of_a_fit_is_negative(times: dict[int, float]) -> None:
    fit = traffic.fitted(times)
    assert fit.serial >= 0 and fit.parallel >= 0


def test_a_prediction_is_not_faster_than_memory() -> None:
    perfect = traffic.Fit(0.0, 16.0)
    args = {"moved": 40e6, "limit": 20.0, "best": 8.0, "triad": 20.0}
    assert traffic.predicted(perfect, 16, **args) == pytest.approx(2.0)
    # At the memory's limit already: the time goes with the bandwidth, however serial it looks.
    bound = {"moved": 160e6, "limit": 40.0, "best": 8.0, "triad": 20.0}
    assert traffic.predicted(traffic.Fit(8.0, 0.0), 16, **bound) == pytest.approx(4.0)


def test_every_stage_of_the_kernels_has_its_bytes() -> None:
    moved = traffic.bytes_moved(traffic.Load(rows=100, visible=70, pairs=300, pixels=4000))
    assert set(moved) == {*common.KERNEL_STAGES, "outside"}
    assert set(kernels.stage_seconds()) == set(common.KERNEL_STAGES)
    assert kernels.seconds() == pytest.approx(sum(kernels.stage_seconds().values()))
    # Parameters and moments read, gradients read, parameters and moments written.
    assert moved["adam"] == 100 * 59 * 4 * 7


def test_a_loop_aside_is_no_gain_of_another_stage() -> None:
    """One thread: 2 ms of Adam, 1.5 of Python. Two: the half of it, and Python beside the rest."""
    stages = {"blend": 4.0, "adam": 0.4, "aside": 0.9, "outside": 0.6}
    assert common.by_caller(stages) == {"blend": 4.0, "adam": 0.4, "outside": 1.5}
    assert common.by_caller({"adam": 2.0, "outside": 1.5}) == {"adam": 2.0, "outside": 1.5}
    before = {"400": {"iteration_ms": 8.0, "stages": {"adam": 2.0, "outside": 1.5, "blend": 4.0}}}
    found = rounds.against(
        {"splat": {"400": {"iteration_ms": 6.0, "stages": stages}}}, {"steps": {"splat": before}}
    )
    assert found["splat, 400"]["stages"] == {"blend": 1.0, "adam": 0.2, "outside": 1.0}


def test_medians_keep_the_shape() -> None:
    results = [{"a": x, "b": {"c": 2 * x}, "name": "n", "count": 3} for x in (1.0, 5.0, 2.0)]
    assert common.medians(results) == {"a": 2.0, "b": {"c": 4.0}, "name": "n", "count": 3}


def test_a_round_that_fails_does_not_lose_the_others() -> None:
    made = rounds.Rounds()
    good = 'print(\'{"400": {"iteration_ms": 2.0, "forward_ms": 1.0}}\')'
    for number, code in enumerate((good, "raise SystemExit('broken')", good)):
        made.turn(rounds.Contestant("one", [sys.executable, "-c", code]), number)
    assert list(made.results["one"]) == [0, 2]
    assert made.failed[0]["round"] == 1 and "broken" in made.failed[0]["error"]
    assert made.medians()["one"]["400"]["iteration_ms"] == 2.0


def test_seconds_to_quality_leave_out_the_measuring() -> None:
    def line(step: int, seconds: float, **more: float) -> dict[str, float]:
        return {"step": step, "seconds": seconds, **more}

    # A hundredth of a second a step, and measurements of two seconds after steps 100, 150 and 200.
    records = [
        line(10, 0.1),
        line(100, 3.0, test_psnr=20.0, look_seconds=2.0),
        line(150, 5.5, test_psnr=22.0, look_seconds=2.0),
        line(150, 5.5),
        line(200, 8.0, test_psnr=25.0, look_seconds=2.0),
    ]
    points, lost = quality.measured(records, (100, 200))
    assert [point["psnr"] for point in points] == [20.0, 25.0]
    assert [point["seconds"] for point in points] == pytest.approx([1.0, 2.0])
    assert lost == pytest.approx(6.0)


def test_accounts_add_up_to_the_wall_clock() -> None:
    left = []
    for _ in range(5):  # the machine may be busy between two looks at the clock
        book = ledger.Ledger()
        with book.phase("whole"):
            with book.booked("outer"):
                torch.zeros(100).sum()
                with book.booked("inner"):
                    kernels.photometric(torch.rand(64, 64, 3), torch.rand(64, 64, 3))
        accounts, stages = book.seconds["whole"], book.stages["whole"]
        assert set(accounts) == {"whole", "outer", "inner"} and stages["loss"] > 0
        parts = sum(accounts.values()) + sum(stages.values())
        left.append(abs(parts - book.phases["whole"]))
    assert min(left) < 1e-4


def test_sizes_are_typed_and_named() -> None:
    assert workload.size_of("1600x1200") == (1600, 1200)
    assert workload.size_of("400") == (400, 400)
    assert [workload.key_of(size) for size in ((400, 400), (1600, 1200))] == ["400", "1600x1200"]
    with pytest.raises(ValueError):
        workload.size_of("0x3")


def test_a_usual_picture_is_the_same_alone() -> None:
    both, one = workload.targets(), workload.targets([(800, 800)])
    assert torch.equal(both[800, 800], one[800, 800])


def test_step_prints_the_keys_of_the_yardstick() -> None:
    command = [sys.executable, str(BENCH / "step.py"), "--json", "--count", "500", "--repeats", "2"]
    printed = subprocess.run([*command, "--size", "48x32"], capture_output=True, text=True)
    assert printed.returncode == 0, printed.stderr
    found = json.loads(printed.stdout)
    size = found["48x32"]
    assert found["gaussians"] == 500
    assert {"iteration_ms", "forward_ms", "loss"} <= set(size)
    assert set(size["stages"]) == {*common.KERNEL_STAGES, "outside"}
    assert 0 < size["forward_ms"] < size["iteration_ms"]


def test_opensplat_is_given_the_same_lens() -> None:
    """Clip space of OpenGL, y down as pixels: (x + 1) width / 2, (y + 1) height / 2."""
    view = workload.camera(400, 300)
    fx, fy = float(view.K[0, 0]), float(view.K[1, 1])
    point = torch.tensor([0.3, -0.2, 2.0, 1.0])
    x, y, z, w = (opensplat.lens(fx, fy, 400, 300) @ point).tolist()
    pixel = view.K @ point[:3] / point[2]
    assert [(x / w + 1) * 200, (y / w + 1) * 150] == pytest.approx(pixel[:2].tolist())
    assert -1 < z / w < 1


def test_what_is_no_checkout_of_opensplat_is_told(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"no project_gaussians\.cpp in .* expected a checkout"):
        opensplat.compiled(tmp_path)


def test_a_yardstick_is_compared_with_itself_alone() -> None:
    def steps(ours: float, name: str, theirs: float) -> dict[str, Any]:
        return {
            "splat avx2": {"400": {"iteration_ms": ours}},
            name: {"400": {"iteration_ms": theirs}},
        }

    then = {"steps": steps(10.0, "yardstick one", 8.0)}
    same = rounds.against(steps(15.0, "yardstick one", 16.0), then)
    assert same["splat avx2, 400"] == {"iteration_ms": 1.5, "by_yardstick": 0.75}
    assert same["yardstick one, 400"] == {"iteration_ms": 2.0}
    other = rounds.against(steps(15.0, "yardstick two", 160.0), then)
    assert other == {"splat avx2, 400": {"iteration_ms": 1.5}}


def test_truth_of_a_size_is_the_photo_shrunk_or_drawn(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = datasets.load(tiny_folder)
    options = Options(background="black", mask_mode="ignore")
    config = Config(tiny_folder, Reading(), (), (), {}, options, Watching(), "", "")
    photo = scene.test[0].camera
    trained = photo.width // 2

    def known(size: float) -> list[sizes.Shot]:
        return list(sizes.shots(config, scene, trained, size, 1, tmp_path))

    for size in (2.0, 1.0, 0.5):
        shots = known(size)
        assert len(shots) == 1
        assert shots[0].camera.width == round(size * trained) == shots[0].image.shape[1]
        assert float(shots[0].camera.K[0, 0] / photo.K[0, 0]) == pytest.approx(
            shots[0].camera.width / photo.width
        )
    whole, half = known(2.0)[0].image, known(1.0)[0].image
    means = torch.nn.functional.avg_pool2d(whole.permute(2, 0, 1), 2).permute(1, 2, 0)
    assert float((means - half).abs().max()) <= 1 / 255
    drawn = known(4.0)[0].image
    assert drawn.shape == (2 * photo.height, 2 * photo.width, 3)
    means = torch.nn.functional.avg_pool2d(drawn.permute(2, 0, 1), 2).permute(1, 2, 0)
    assert float((means - whole).abs().mean()) < 0.01
    assert torch.equal(known(4.0)[0].image, drawn)  # read back, the second time
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr(sizes, "truth_of", lambda scene: None)
    assert known(4.0) == []


def test_of_two_commands_one_runs_while_the_other_stands_still(tmp_path: Path) -> None:
    said = tmp_path / "said"
    loop = "for i in $(seq 60); do printf {} >> {}; sleep 0.01; done"
    commands = [["sh", "-c", loop.format(name, said)] for name in "ab"]
    seconds = in_turns.in_turns(commands, 0.2)
    text = said.read_text()
    assert text.count("a") == text.count("b") == 60
    changes = sum(one != other for one, other in pairwise(text))
    turns = sum(-(-each // 0.2) for each in seconds)
    assert changes <= turns, text  # two that run at once change places a hundred times
    assert all(0.5 < each < 5 for each in seconds)


def test_a_command_that_fails_ends_the_other(tmp_path: Path) -> None:
    late = tmp_path / "late"
    commands = [["sh", "-c", "exit 3"], ["sh", "-c", f"sleep 1; touch {late}"]]
    with pytest.raises(SystemExit, match="exit 3' ended with 3"):
        in_turns.in_turns(commands, 0.1)
    time.sleep(1.2)
    assert not late.exists()
