"""Jobs in processes of their own, which go on where they stopped: here, and on Ray."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from splat.jobs import Ended, Interrupted, Share, Work, child, connection, engine_of, share_of
from splat.jobs.board import Board, steps_of
from splat.system import machine

COUNTER = '''
"""A job that counts, keeps its count, and may be killed at it."""

import json, os, signal, sys, time
from pathlib import Path

stopped = False


def note(number, frame):
    global stopped
    stopped = True


def main(arguments):
    """FOLDER STEPS KILLS [PAUSE]: kills itself with SIGKILL at as many steps as KILLS says."""
    folder, steps, kills = Path(arguments[0]), int(arguments[1]), int(arguments[2])
    pause = float(arguments[3]) if len(arguments) > 3 else 0.0
    signal.signal(signal.SIGTERM, note)
    folder.mkdir(exist_ok=True)
    kept, tries = folder / "kept", folder / "tries"
    with tries.open("a") as file:
        file.write(f"{os.getpid()} {os.getppid()}\\n")
    begun = len(tries.read_text().splitlines())
    values = json.loads(kept.read_text()) if kept.exists() else []
    print(f"begins at {len(values)}", flush=True)
    while len(values) < steps:
        values.append((values[-1] * 7 + 3) % 1009 if values else 1)
        draft = folder / f"draft{os.getpid()}"
        draft.write_text(json.dumps(values))
        os.replace(draft, kept)
        with (folder / "log.jsonl").open("a") as file:
            file.write(json.dumps({"step": len(values)}) + "\\n")
        if begun <= kills and len(values) >= begun:
            os.kill(os.getpid(), signal.SIGKILL)
        if stopped:
            return 128 + signal.SIGTERM
        time.sleep(pause)
    (folder / "threads").write_text(os.environ["OMP_NUM_THREADS"])
    return 0


def failing(arguments):
    raise ValueError("the photo is upside down")


def unkind(arguments):
    raise SystemExit(7)


def spanning(arguments):
    """FOLDER NAME: note when this began and ended."""
    folder, name = Path(arguments[0]), arguments[1]
    start = time.monotonic()
    time.sleep(0.3)
    (folder / name).write_text(f"{start} {time.monotonic()}")
    return 0
'''


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a module of jobs."""
    place = tmp_path_factory.mktemp("modules")
    (place / "counting_jobs.py").write_text(COUNTER)
    sys.path.append(str(place))
    yield "counting_jobs"
    sys.path.remove(str(place))


def work_of(
    counter: str, out: Path, key: str, kills: int = 0, pause: float = 0.0, **more: Any
) -> Work:
    folder = out / key
    arguments = (str(folder), "5", str(kills), str(pause))
    return Work(
        key, f"{counter}:main", arguments, out / f"{key}.log", 5, folder / "log.jsonl", **more
    )


def expected() -> list[int]:
    values = [1]
    while len(values) < 5:
        values.append((values[-1] * 7 + 3) % 1009)
    return values


def carried_out(works: Sequence[Work], where: str | None = None, **share: Any) -> dict[str, Ended]:
    found: list[Ended] = []
    given = Share(**{"workers": 2, "threads": 1, **share})
    engine_of(where, given).run(works, found.append, quiet=True)
    assert len(found) == len({ended.key for ended in found})
    return {ended.key: ended for ended in found}


def wait(happened: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


# On this machine


def test_a_job_that_is_killed_twice_goes_on_to_the_same_result(
    counter: str, tmp_path: Path
) -> None:
    works = [work_of(counter, tmp_path, "a", kills=2), work_of(counter, tmp_path, "b")]
    found = carried_out(works)
    assert found == {"a": Ended("a", 0, 3), "b": Ended("b", 0, 1)}
    for work in works:
        assert json.loads((tmp_path / work.key / "kept").read_text()) == expected()
        assert (tmp_path / work.key / "threads").read_text() == "1"
    # What was done before it was killed was not done again.
    begins = [line for line in works[0].log.read_text().splitlines() if "begins at" in line]
    assert begins == ["begins at 0", "begins at 1", "begins at 2"]


def test_a_job_is_given_up_and_what_it_said_is_told(counter: str, tmp_path: Path) -> None:
    dying = work_of(counter, tmp_path, "dying", kills=9)
    failing = Work("failing", f"{counter}:failing", (), tmp_path / "failing.log", 1)
    unkind = Work("unkind", f"{counter}:unkind", (), tmp_path / "unkind.log", 1)
    lost = Work("lost", f"{counter}:lost", (), tmp_path / "lost.log", 1)
    found = carried_out([dying, failing, unkind, lost])
    assert found["dying"].code == -signal.SIGKILL and found["dying"].attempts == 4
    assert found["dying"].message.startswith("its process was killed; perhaps memory ran out")
    assert found["dying"].message.endswith("(4 attempts)")
    assert found["failing"] == Ended("failing", 1, 1, "the photo is upside down")
    assert "Traceback" in failing.log.read_text()
    assert found["unkind"].message == "its process ended with exit code 7; see unkind.log"
    assert "there is no 'lost' in" in found["lost"].message


def test_a_disk_that_has_no_room_for_the_lock_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "somewhere")

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", full)
        code, why = child.call_job("any:main", tmp_path / "a.log", [])
    assert (code, why[:18]) == (1, "the disk is full: ")
    assert ".a.log.lock was not written" in why and not caplog.records


def test_in_this_process_one_after_the_other(counter: str, tmp_path: Path) -> None:
    works = [
        work_of(counter, tmp_path, "a"),
        Work("b", f"{counter}:failing", (), tmp_path / "b.log", 1),
        Work("c", f"{counter}:stopping", (), tmp_path / "c.log", 1),
    ]
    module = sys.modules.get(counter) or __import__(counter)
    module.stopping = lambda arguments: 128 + signal.SIGINT
    before = signal.getsignal(signal.SIGTERM)
    found: list[Ended] = []
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        with pytest.raises(Interrupted) as caught:
            engine_of(None, Share(0, 1)).run(works, found.append)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert caught.value.number == signal.SIGINT
    assert [ended.key for ended in found] == ["a", "b"]
    assert (found[0].code, found[1].message) == (0, "the photo is upside down")


def test_two_jobs_of_one_name_are_refused(counter: str, tmp_path: Path) -> None:
    work = work_of(counter, tmp_path, "a")
    with pytest.raises(ValueError, match="two jobs have the key a"):
        carried_out([work, work])
    assert not work.log.exists()


def test_a_signal_stops_all_with_what_they_have_and_they_go_on(
    counter: str, tmp_path: Path
) -> None:
    works = [work_of(counter, tmp_path, key, pause=0.3) for key in "abc"]
    logs = [work.progress for work in works]

    def stop() -> None:
        wait(lambda: all(log is not None and log.exists() for log in logs[:2]))
        os.kill(os.getpid(), signal.SIGTERM)

    found: list[Ended] = []
    threading.Thread(target=stop).start()
    with pytest.raises(Interrupted) as caught:
        engine_of(None, Share(2, 1)).run(works, found.append, quiet=True)
    assert caught.value.number == signal.SIGTERM and found == []
    kept = [json.loads((tmp_path / key / "kept").read_text()) for key in "ab"]
    assert all(1 <= len(values) < 5 for values in kept) and not (tmp_path / "c").exists()
    assert set(carried_out(works)) == set("abc")
    for key in "abc":
        assert json.loads((tmp_path / key / "kept").read_text()) == expected()
    steps = [json.loads(line)["step"] for line in (tmp_path / "a/log.jsonl").open()]
    assert steps == [1, 2, 3, 4, 5]


def test_no_more_begin_than_memory_has_room_for(
    counter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(machine, "memory", lambda: (2000, 1000))

    def spans(name: str, memories: Sequence[int]) -> list[tuple[float, float]]:
        place = tmp_path / name
        place.mkdir()
        works = [
            Work(f"{i}", f"{counter}:spanning", (str(place), f"{i}"), place / f"{i}.log", 1,
                 memory=memory)
            for i, memory in enumerate(memories)
        ]  # fmt: skip
        assert all(ended.code == 0 for ended in carried_out(works, workers=3).values())
        pairs = [(place / f"{i}").read_text().split() for i in range(len(memories))]
        return [(float(start), float(end)) for start, end in pairs]

    def at_once(spans: Sequence[tuple[float, float]]) -> int:
        return max(sum(start <= at < end for start, end in spans) for at, _ in spans)

    with caplog.at_level(logging.INFO, logger="splat"):
        assert at_once(spans("gated", [600, 600, 500])) == 1
        assert "1 needs 600 B" in caplog.text.replace("0.6 kB", "600 B")
        assert "runs alone" not in caplog.text
        found = spans("alone", [1500, 100])
    assert found[0][1] <= found[1][0]
    assert "0 is predicted to take 1.5 kB of memory and 1 kB are free; it runs alone" in caplog.text


def test_one_view_of_the_progress_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    works = [
        Work(key, "a:b", (), tmp_path / f"{key}.log", 100, tmp_path / f"{key}.jsonl")
        for key in "abcd"
    ]
    assert steps_of(works[0]) == 0
    (tmp_path / "a.jsonl").write_text('{"step": 100}\n')
    (tmp_path / "b.jsonl").write_text('{"step": 20}\n{"step": 30, "view": "x"}\n')
    (tmp_path / "c.jsonl").write_text('{"step": 20}\n{"st')
    assert [steps_of(work) for work in works] == [100, 30, 20, 0]
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with caplog.at_level(logging.INFO, logger="splat"), Board(works, quiet=False) as board:
        for clock[0] in (0.5, 30.0, 61.0, 62.0):
            board.show(works[1:3], 1, works[:1])
        (tmp_path / "b.jsonl").write_text('{"step": 80}\n')
        clock[0] = 130.0
        board.show(works[1:3], 1, works[:1])
    # Once each: what a cluster's library does to logging may note them twice.
    assert list(dict.fromkeys(record.getMessage() for record in caplog.records)) == [
        "jobs      2 run, 1 wait, 1 done of 4; step 150 of 400 (38 %)",
        "jobs      2 run, 1 wait, 1 done of 4; step 200 of 400 (50 %), about 6 min 40 s left",
    ]


def test_how_a_cluster_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 8)
    assert share_of("cpu", None, 2, 10, "ray") == Share(4, 2)
    assert share_of("cpu", None, 2, 10, "host:6379") == Share(10, 2)
    assert share_of("cuda", 3, None, 10, "ray://host:1") == Share(3, 8, ("0", "1", "2"))


def test_addresses_and_a_missing_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="--on is 'rya'; expected ray, or the address"):
        engine_of("rya", Share(1, 1))
    monkeypatch.setattr(
        connection, "import_ray", lambda: type("Idle", (), {"is_initialized": bool})
    )
    for where in ("127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:many"):
        with (
            pytest.raises(ValueError, match=r"nobody listens there .* start it with `ray start"),
            connection.ray_connection(where, Share(1, 1)),
        ):
            pass
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install 'splat-toolkit\[ray\]'"):
        engine_of("ray", Share(1, 1))


# On Ray


@pytest.fixture(scope="module")
def started() -> Iterator[Any]:
    """Ray on this machine with room for two jobs of a thread."""
    pytest.importorskip("ray")
    from splat.jobs.connection import ray_connection

    def around() -> tuple[dict[str, str], list[Any]]:
        variables = {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"}
        return variables, [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]

    # So do shells for what they start in the background; workers of Ray inherit it.
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    before = around()
    with ray_connection("ray", Share(2, 1)) as ray:
        assert around() == before
        signal.signal(signal.SIGINT, handler)
        yield ray
    assert not ray.is_initialized() and around()[0] == before[0]


def tries(out: Path, key: str) -> list[tuple[int, int]]:
    """The process of a job and the one that began it, for each attempt."""
    path = out / key / "tries"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [(int(line.split()[0]), int(line.split()[1])) for line in lines]


@pytest.mark.slow
def test_ray_goes_on_with_jobs_whose_process_or_worker_is_killed(
    started: Any, counter: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Processes of one job kill themselves, the workers that began another one are killed."""
    works = [
        work_of(counter, tmp_path, "a", kills=2, memory=10**6),
        work_of(counter, tmp_path, "b", pause=0.5),
        work_of(counter, tmp_path, "c", memory=10**15),
        Work("failing", f"{counter}:failing", (), tmp_path / "failing.log", 1),
    ]

    def kill() -> None:
        for attempt in (1, 2):
            wait(lambda at=attempt: len(tries(tmp_path, "b")) == at)
            os.kill(tries(tmp_path, "b")[-1][1], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    found = carried_out(works, "ray")
    killer.join()
    assert found["failing"] == Ended("failing", 1, 1, "the photo is upside down")
    assert [(found[key].code, found[key].attempts) for key in "abc"] == [(0, 3), (0, 3), (0, 1)]
    for key in "abc":
        assert json.loads((tmp_path / key / "kept").read_text()) == expected()
    steps = [json.loads(line)["step"] for line in (tmp_path / "b/log.jsonl").open()]
    assert steps == [1, 2, 3, 4, 5]
    assert len({worker for _, worker in tries(tmp_path, "b")}) == 3
    assert capfd.readouterr().out == ""  # it is for results


KILLER = '''
import os, signal
from dataclasses import dataclass
from pathlib import Path
from splat.core.strategy import Strategy


@dataclass(frozen=True)
class Killing(Strategy):
    """Kills its process once."""

    def refine(self, step):
        mark = Path(os.environ["SPLAT_TEST_MARK"])
        if step.number == 21 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
'''


@pytest.mark.slow
def test_a_sweep_on_ray_comes_to_the_same_bytes_as_here(
    started: Any, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though one of its runs is killed on the way."""
    from splat.comparison.compare import compare
    from splat.comparison.request import Request
    from splat.options import Options

    (tmp_path / "killer.py").write_text(KILLER)
    monkeypatch.setenv("SPLAT_TEST_MARK", str(tmp_path / "mark"))
    request = Request(
        scenes=(tiny_folder,),
        strategies={"mcmc": "mcmc", "killing": f"{tmp_path / 'killer.py'}:Killing"},
        budgets=(600,),
        seeds=(0,),
        options=Options(steps=30, max_side=0, resolution="full", schedule="published"),
        eval_every=15,
        net="none",
    )
    found = compare(request, tmp_path / "ray", workers=2, threads=1, quiet=True, where="ray")
    assert [outcome.state for outcome in found.outcomes] == ["done"] * 2
    assert [outcome.note.at_once for outcome in found.outcomes] == [(2,), (2, 2)]
    assert (tmp_path / "mark").exists()
    compare(request, tmp_path / "here", workers=0, threads=1, quiet=True)
    for pattern in ("runs/*/*/point_cloud.ply", "runs/*/*/checkpoints/*.pt"):
        pairs = [(p, tmp_path / "ray" / p.relative_to(tmp_path / "here"))
                 for p in (tmp_path / "here").glob(pattern)]  # fmt: skip
        assert len(pairs) == 2 and all(a.read_bytes() == b.read_bytes() for a, b in pairs)


@pytest.mark.slow
def test_ray_gives_up_and_stops_with_what_there_is(
    started: Any, counter: str, tmp_path: Path
) -> None:
    found: list[Ended] = []
    works = [
        work_of(counter, tmp_path, "dying", kills=9),
        *(work_of(counter, tmp_path, key, pause=0.5) for key in "abc"),
    ]

    def stop() -> None:
        wait(lambda: found != [] and len(tries(tmp_path, "b")) == 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop).start()
    with pytest.raises(Interrupted):
        engine_of("ray", Share(2, 1), retries=1).run(works, found.append, quiet=True)
    # On a busy machine the first of the others may be through before.
    (dying,) = (ended for ended in found if ended.key != "a")
    assert (dying.key, dying.attempts) == ("dying", 2)
    assert dying.message.startswith("its process was killed")
    for pid in (pid for key in "ab" for pid, _ in tries(tmp_path, key)):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert not (tmp_path / "c").exists()
    assert carried_out(works[1:], "ray").keys() == set("abc")
    for key in "abc":
        assert json.loads((tmp_path / key / "kept").read_text()) == expected()
        steps = [json.loads(line)["step"] for line in (tmp_path / key / "log.jsonl").open()]
        assert steps == [1, 2, 3, 4, 5]


@pytest.mark.slow
def test_ray_says_when_no_machine_has_room(
    started: Any,
    counter: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from splat.jobs import cluster

    monkeypatch.setattr(cluster, "STALLED", 0.5)

    def stop() -> None:
        wait(lambda: "wait for other work" in caplog.text)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop).start()
    with pytest.raises(Interrupted):
        engine_of("ray", Share(1, 3)).run([work_of(counter, tmp_path, "a")], print, quiet=True)
    assert "each needs 3 cores, its machines have at most 2 cores" in caplog.text
    assert not (tmp_path / "a").exists()


def test_a_machine_that_cannot_carry_out_a_job_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from splat.jobs import task
    from splat.jobs.process import Place

    monkeypatch.setattr(task, "PATIENCE", 0.0)
    work = Work("a", "a:b", (), Path("runs/a.log"), 1)
    code, why = task.run_job(task.SentJob(work, Place(1, folder=str(tmp_path)), "0.0.1"))
    assert code == 2 and "and the job was sent by 0.0.1; expected the same on all" in why
    version = task.splat.__version__
    code, why = task.run_job(task.SentJob(work, Place(1, folder=str(tmp_path)), version))
    assert code == 2 and why.startswith(f"{tmp_path / 'runs'} is not seen from")
    assert "a file system that all machines of the cluster share" in why
