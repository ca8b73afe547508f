"""`Job`: a scene, how it is to be trained, and the run made of both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from splat import guidance, kernels
from splat.core import offload
from splat.core.dropout import Dropout
from splat.core.frame import frame_of, points_to_frame
from splat.core.knobs import after_changes
from splat.core.model import Making, Model
from splat.core.objective import Objective, Photometric
from splat.core.rates import Rates
from splat.core.schedule import PUBLISHED_STEPS, every
from splat.core.strategy import Strategy
from splat.export.quantisation import Quantisation, steps_before_rounding
from splat.export.retrain import Pictures
from splat.kernels import NEAR
from splat.loop import Run
from splat.options import PLANES, Options
from splat.parallel import ALONE, Ranks, Sharded
from splat.photos import resolution
from splat.photos.disk_cache import Shelf
from splat.photos.loader import Loader
from splat.planning import memory, predict
from splat.planning.ladder import step_parts
from splat.planning.predict import Pace
from splat.planning.time_left import TimeLeft
from splat.recipes.parts import with_run_options
from splat.render import drawing_as, drawn_by
from splat.render.quantised import AS_IT_IS
from splat.runs import checkpoint
from splat.runs.checkpoint import State
from splat.runs.replay import read_script
from splat.seeding.air import with_clear_air
from splat.seeding.moved import with_what_moves
from splat.seeding.start import begins_at_random, initial_rows
from splat.sensor import Sensor
from splat.sensor.sensor import SENSOR, sensor_for
from splat.system import machine
from splat.system.colours import rgb
from splat.training.decide import ASKED, Decided, Decision, decide_options
from splat.training.sensor_choice import sensor_of
from splat.training.sharing import check_sharded, share_rows
from splat.types import Batch, Camera, Drawing, Frame, Needs, Renderer, SceneData, View

SH_EVERY = 1000
"""Steps after which one more band of harmonics is switched on, in a published run (3DGS)."""
MOST_REFINED = 500
"""Most steps of fine-tuning of a baked set."""


@dataclass
class Job:
    """A scene, how it is to be trained, and the run made of both; `close` it when done."""

    scene: SceneData
    strategy: Strategy
    """As it was asked for, not yet fitted to the number of steps."""
    options: Options
    """Every value that was left open fitted to the device."""
    run: Run
    photos: Loader
    """The views that are trained on."""
    held_out: Loader | None
    """The views that are measured; None where none are held out."""
    plan: predict.Prediction
    decided: Decided
    """What was decided where nobody said it, with the reasons."""
    pace: Pace
    """What was timed before of this scene and method on this machine."""

    def test_batches(self) -> Iterator[Batch]:
        """The held-out views, decoded one after the other."""
        if self.held_out is not None:
            for index in range(len(self.held_out)):
                yield self.held_out.batch(index)

    def own_batches(self) -> Iterator[Batch]:
        """The held-out views that this process measures; all, where it is alone."""
        if self.held_out is not None:
            all_of_them: Sequence[int] = range(len(self.held_out))
            ranks = self.run.ranks
            for index in ranks.shared(all_of_them):
                yield self.held_out.batch(index)

    def time_left(self) -> TimeLeft:
        """A prediction of the time that is left, from where the run is."""
        run, sizes = self.run, self.photos.sizes
        areas = [camera.width * camera.height for camera in self.photos.cameras]
        area, draws = sum(areas) / len(areas), run.model.draws

        def cost(step: int, rows: float) -> float:
            pixels = area / sizes.factor(step * sizes.steps // run.steps) ** 2
            device, threads = run.render.device, self.options.threads or 0
            fixed, of_pixels = step_parts(device, pixels, draws * rows, threads)
            return self.pace.step * fixed + self.pace.pixels * of_pixels

        return TimeLeft(cost, run.steps, run.strategy.cap, run.step)

    def close(self) -> None:
        """Stop the loaders' threads."""
        self.photos.close()
        if self.held_out is not None:
            self.held_out.close()


@dataclass(frozen=True)
class _Start:
    """What a run begins with, or goes on from."""

    rows: dict[str, Tensor]
    """Columns of `Explicit`, or of a checkpoint."""
    rates: Rates
    """Learning rates of rows that are Gaussians."""
    frame: Frame
    drawing: Drawing
    at_random: bool
    """Whether rows begin, or began, anywhere, for lack of points."""


def prepare(
    scene: SceneData,
    strategy: Strategy,
    options: Options,
    state: State | None = None,
    pace: Pace | None = None,
    frame: Frame | None = None,
    ranks: Ranks = ALONE,
    decided: Decided | None = None,
) -> Job:
    """Everything that training needs, before step 0 or as the checkpoint `state` left it.

    `decided` is what was decided of it before, None: what is left open is decided here. `pace` is
    what was timed of this scene and method on this machine, None: nothing was; `frame` is what to
    train in, None: that of the views that are trained on. `ranks` are the processes that train it
    together; the steps of `options` are photos then, and those of the run as many times fewer.
    """
    held = memory.held()
    ranks = ranks.showing(options.batch)
    decided = decided or decide_options(scene, strategy, options, ranks)
    options, device = decided.options, decided.device
    assert options.threads is not None and options.steps is not None
    kernels.set_threads(options.threads)
    shared_out = options.shard and not ranks.alone
    if shared_out:
        check_sharded(strategy, options)
        state = None if state is None else checkpoint.share(state, ranks.rank, ranks.count)
    if state is not None and _each_alone(state):
        scene = replace(scene, train=tuple(map(_alone, scene.train)))
    steps = ranks.steps_of(options.steps)
    fitted = _fitted(strategy, options, ranks)
    cameras = [view.camera for view in scene.train]
    if state is not None:
        frame = checkpoint.frame(state)
    elif frame is None:
        frame = frame_of(cameras)
    terms = _terms(scene, fitted, replace(options, steps=steps), frame)
    moves = bool(fitted.start.moves_within)
    photos, held_out = _photos(scene, options, frame, device, terms, ranks, moves)
    rows, drawing = _began(scene, fitted, options, frame, photos, device, ranks, state)
    exposure, sensor, why_exposure = sensor_of(
        scene, options, photos, frame, device, resumed=state is not None, ranks=ranks
    )
    options = replace(options, exposure=exposure)
    photo_decisions = _looked_at(decided, options, drawing, why_exposure)
    try:
        at_random = begins_at_random(scene.points, options.init)
        begun = _Start(rows, _rates(options, at_random), frame, drawing, at_random)
        run = _run(fitted, options, begun, photos, device, sensor, terms, ranks)
    except (LookupError, TypeError) as error:
        if state is None:
            raise
        with checkpoint.fitting(state):
            raise error
    if state is not None:
        checkpoint.restore(run, state)
    if isinstance(shard := run.model.cloud.shard, Sharded):
        shard.begin(run.model.cloud)
        run.model.cloud.began = run.rows if state is None else run.model.cloud.began
    if options.replay is not None:
        run.script = read_script(options.replay)
        after_changes(run.strategy, (command for command in run.script if command.step >= run.step))
    pace = predict.remembered_pace(device) if pace is None else pace
    plan = _plan(scene, options, run, photos, device, pace, held)
    return Job(
        scene,
        strategy,
        options,
        run,
        photos,
        held_out,
        plan,
        decided.also(options, photo_decisions),
        pace,
    )


def prepare_again(
    scene: SceneData, strategy: Strategy, options: Options, photos: Pictures, state: State
) -> Run:
    """The run of one process on the CPU as a checkpoint left it, with photos that need not be those
    of the scene's files: to repeat steps of it.

    `options` are fitted ones; of the scene only what its views have, and its points, is looked at.
    """
    steps, exposure = options.steps, options.exposure
    assert steps is not None and exposure != "auto"
    device, frame = torch.device("cpu"), checkpoint.frame(state)
    options = replace(options, device="cpu", offload=False)
    fitted = _fitted(strategy, options, ALONE)
    terms = _terms(scene, fitted, options, frame)
    sensor = sensor_for(
        photos.cameras, steps, exposure=exposure,
        refine_poses=options.refine_poses, device=device,
    )  # fmt: skip
    drawing = checkpoint.drawing(state) or Drawing(options.antialiased)
    at_random = begins_at_random(scene.points, options.init)
    rates = _rates(options, at_random)
    start = _Start(checkpoint.rows(state), rates, frame, drawing, at_random)
    run = _run(fitted, options, start, photos, device, sensor, terms, ALONE)
    checkpoint.restore(run, state)
    return run


def _photos(
    scene: SceneData,
    options: Options,
    frame: Frame,
    device: torch.device,
    terms: Mapping[str, Objective],
    ranks: Ranks,
    moves: bool,
) -> tuple[Loader, Loader | None]:
    """`loaders`, for training: cameras know what air is clear and, with `moves`, what moves in
    a clip; pictures begin as small as they may."""
    assert options.resolution != "auto" and options.steps is not None
    photos, held_out = loaders(scene, options, frame, device, _asked(terms, options), ranks)
    if scene.points is not None and len(scene.points.positions):
        points = points_to_frame(scene.points, frame).positions
        photos.cameras = with_clear_air(photos.cameras, points)
    if moves and scene.clip is not None:
        photos.cameras = with_what_moves(photos)
    looked_at = photos.pictures(resolution.DASH_PHOTOS)
    photos.sizes = resolution.sizes(options.resolution, ranks.steps_of(options.steps), looked_at)
    return photos, held_out


def _began(
    scene: SceneData,
    strategy: Strategy,
    options: Options,
    frame: Frame,
    photos: Loader,
    device: torch.device,
    ranks: Ranks,
    state: State | None,
) -> tuple[dict[str, Tensor], Drawing]:
    """The rows that this process holds, and how they are drawn: those of a checkpoint, or those
    of before the first step."""
    if state is not None:
        drawing = checkpoint.drawing(state) or Drawing(options.antialiased)
        return checkpoint.rows(state), drawing
    with kernels.one_torch_thread():
        rows = ranks.agreed(lambda: initial_rows(scene, photos, strategy, options, frame, device))
    if options.shard and not ranks.alone:
        rows = {name: values[ranks.rank :: ranks.count] for name, values in rows.items()}
    return rows, Drawing(options.antialiased, None if options.near == NEAR else options.near)


def _plan(
    scene: SceneData,
    options: Options,
    run: Run,
    photos: Loader,
    device: torch.device,
    pace: Pace,
    held: int,
) -> predict.Prediction:
    """What a run will need; `held` is the memory that libraries had before it."""
    draws, ranks = run.model.draws, run.ranks
    baked = run.model.left_out and run.model.motion() is None
    return predict.predict(
        scene.train, replace(options, steps=run.steps), device, draws * run.rows,
        draws * run.strategy.cap, photos.sizes, pace, held_out=scene.test, libraries=held,
        refined=refined_steps(run.steps) if baked else 0,
        sharing=ranks.count if options.shard and not ranks.alone else 1,
    )  # fmt: skip


def _each_alone(state: State) -> bool:
    """Whether a checkpoint has learned of each photo of its own, as those of before did of rigs."""
    tables = [part["module"].values() for name, part in state["modules"].items() if name in SENSOR]
    return any(len(values) == state["views"] for table in tables for values in table)


def _alone(view: View) -> View:
    return replace(view, camera=replace(view.camera, taken_by=None))


def _fitted(strategy: Strategy, options: Options, ranks: Ranks) -> Strategy:
    """A strategy fitted to the steps of a run."""
    assert options.steps is not None
    scaled, steps = options.schedule == "scaled", ranks.steps_of(options.steps)
    # What is published for so many photos is due after as many times fewer steps of several.
    due_over = steps if scaled else ranks.steps_of(PUBLISHED_STEPS)
    fitted = strategy.scheduled(due_over) if scaled or ranks.at_once > 1 else strategy
    return with_run_options(fitted, options, steps)


def _looked_at(
    decided: Decided, options: Options, drawing: Drawing, why_exposure: str
) -> list[Decision]:
    """Decisions that depend on photos and points."""
    asked = decided.options
    why_near = "as other programs draw" if drawing.near is None else ASKED
    few = f"photos have fewer than {memory.MANY_PIXELS / 1e9:g} billion pixels in all"
    many = f"photos have {memory.MANY_PIXELS / 1e9:g} billion pixels in all, or more"
    why_decoding = many if options.decoding == "reduced" else few
    return [
        Decision("decoding", options.decoding, why_decoding if asked.decoding == "auto" else ASKED),
        Decision("exposure", options.exposure, why_exposure),
        Decision("near", f"{drawing.near or NEAR:.3g}", why_near),
    ]


def refined_steps(steps: int) -> int:
    """Steps of fine-tuning of a baked set, after a run of so many: a tenth, within limits."""
    return min(MOST_REFINED, steps // 10)


def loaders(
    scene: SceneData,
    options: Options,
    frame: Frame,
    device: torch.device,
    needs: Needs = Needs(),  # noqa: B008
    ranks: Ranks = ALONE,
) -> tuple[Loader, Loader | None]:
    """The views to train on, with their outlines, depth and normals as far as `needs` asks for
    them, and those held out; `options` are fitted ones. Processes show the former by turns."""
    assert options.downscale != "auto" and options.cache is not None
    on_disk = options.photo_cache or 0
    shelf = Shelf(machine.user_cache() / "photos", on_disk) if on_disk else None

    def loader(test: bool) -> Loader:
        return Loader(
            scene.test if test else scene.train,
            frame=frame,
            downscale=float(options.downscale),
            max_side=options.max_side or None,
            background=rgb(options.background),
            masks=options.mask_mode,
            # Held-out views are looked at seldom, one after the other.
            budget_bytes=(options.cache or 0) // (memory.HELD_OUT_SHARE if test else 1),
            device=device,
            seed=options.seed,
            workers=memory.decoders(),
            outlines=needs.outline and not test,
            depths=needs.given_depth and not test,
            normals=needs.given_normal and not test,
            # What is measured with is decoded in full always.
            reduced=options.decoding == "reduced" and not test,
            shelf=shelf,
            turn=(0, 1) if test else (ranks.rank, ranks.count),
            each=1 if test else ranks.photos,
        )

    return loader(test=False), loader(test=True) if scene.test else None


def _terms(
    scene: SceneData, strategy: Strategy, options: Options, frame: Frame
) -> Mapping[str, Objective]:
    """Loss terms beside the photos: of data given with them, and of the method; the latter win a
    name that both have."""
    assert options.steps is not None
    points = None if scene.points is None else points_to_frame(scene.points, frame)
    terms = guidance.given_terms(
        scene.train, options.depth_weight, options.normal_weight, options.steps,
        None if points is None else points.positions,
    )  # fmt: skip
    weight = options.points_weight or 0.0
    if points is None or not len(points.positions) or (scene.clip and points.times is None):
        weight = 0.0  # of a clip it takes points that are known to have been there
    if weight and points is not None:
        terms["points_depth"] = guidance.PointsDepth(weight, options.steps, points)
    return {**terms, **strategy.objectives()}


def _asked(terms: Mapping[str, Objective], options: Options) -> Needs:
    """Data that photos are to bring with them."""
    needs = Needs()
    for term in terms.values():
        needs = needs | term.needs
    if options.init == PLANES:
        needs = needs | Needs(given_depth=True, given_normal=True)
    return needs


def _half_harmonics(model: Model, drawer: str) -> None:
    """Raise ValueError where harmonics cannot be stored as bfloat16; `drawer` is what draws."""
    if drawer == "gsplat":
        raise ValueError(
            "harmonics is bfloat16, and gsplat draws float32 only; leave --harmonics or --renderer"
            " gsplat out"
        )
    if all(model.cloud[name].dtype != torch.bfloat16 for name in model.cloud.names):
        raise ValueError(
            f"harmonics is bfloat16, and {model.unit} of this method are kept without harmonics;"
            " leave it out, --moments bfloat16 saves memory there too"
        )


def _rates(options: Options, at_random: bool) -> Rates:
    """Learning rates of rows that are Gaussians, for so many photos: that a step of several moves
    farther is said by `splat.core.column.Scaling`."""
    assert options.steps is not None
    rates = replace(Rates(), sh_tail_every=options.harmonics_every)
    if options.schedule != "scaled":
        return rates
    return rates.scheduled(options.steps, sizes=not at_random)


def _run(
    strategy: Strategy,
    options: Options,
    start: _Start,
    photos: Pictures,
    device: torch.device,
    sensor: Sensor,
    terms: Mapping[str, Objective],
    ranks: Ranks,
) -> Run:
    assert options.steps is not None
    behind, steps = rgb(options.background), ranks.steps_of(options.steps)
    model = _model(strategy, options, start, photos.cameras, device, ranks)
    objectives: dict[str, Objective] = {"photometric": Photometric(options.ssim_weight)}
    objectives |= terms
    objectives |= sensor.objectives()

    def renderer_as(drawing: Drawing) -> Renderer:
        render = drawing_as(drawing, start.frame, device, renderer=options.renderer)
        return model.cloud.shard.drawn_by(model.drawn_by(render))

    return Run(
        model=model,
        strategy=strategy,
        objectives=objectives,
        render=renderer_as(start.drawing),
        plain=None if start.drawing.near is None else renderer_as(start.drawing.plain),
        batches=photos,
        views=photos.cameras,
        photos=photos.batch_at,
        steps=steps,
        seed=options.seed,
        frame=start.frame,
        drawing=start.drawing,
        modules={**model.networks(), **sensor.parts},
        sensor=sensor,
        dropout=Dropout(options.dropout, steps) if options.dropout else None,
        visible_only=options.adam == "visible",
        quantiser=AS_IT_IS
        if options.finish_for is None
        else Quantisation(
            options.finish_for, start.frame, steps_before_rounding(steps, options.finish_share)
        ),
        background=torch.tensor(behind, device=device) if any(behind) else None,
        ranks=ranks,
    )


def _model(
    strategy: Strategy,
    options: Options,
    start: _Start,
    cameras: Sequence[Camera],
    device: torch.device,
    ranks: Ranks,
) -> Model:
    """What is trained; ValueError where the options ask for what it cannot do."""
    assert options.steps is not None
    scaled, steps = options.schedule == "scaled", ranks.steps_of(options.steps)
    making = Making(
        steps=steps if scaled else ranks.steps_of(PUBLISHED_STEPS),
        sh_every=every(SH_EVERY, steps) if scaled else ranks.steps_of(SH_EVERY),
        rates=start.rates,
        moments=torch.bfloat16 if options.moments == "bfloat16" else torch.float32,
        harmonics=torch.bfloat16 if options.harmonics == "bfloat16" else torch.float32,
        keep=offload.kept_by(device) if options.offload else None,
        seed=options.seed,
        views=cameras,
        frame=start.frame,
        at_random=start.at_random,
    )
    model = strategy.model({name: values.to(device) for name, values in start.rows.items()}, making)
    if options.harmonics == "bfloat16":
        _half_harmonics(model, drawn_by(device, options.renderer))
    if options.offload and not (ranks.at_once == 1 and model.cloud.kept_away):
        several = "several processes" if ranks.photos == 1 else "steps of several photos"
        refused = f"{model.unit} of this method" if ranks.at_once == 1 else several
        raise ValueError(
            f"offload keeps plain Gaussians of one process, not {refused}; leave it out"
        )
    if options.finish_for is not None and not model.same_for_all_views:
        raise ValueError(
            f"finish-for rounds Gaussians that are trained themselves, and {model.unit} make theirs"
            " for each camera; leave it out, and give the file its own training: splat export"
            " --refine"
        )
    if options.shard and not ranks.alone:
        share_rows(model, ranks)
    return model


def start_rows(job: Job) -> dict[str, Tensor]:
    """The rows that a job's model was made from before step 0: columns of `Explicit`."""
    device = job.run.render.device
    return initial_rows(job.scene, job.photos, job.strategy, job.options, job.run.frame, device)
