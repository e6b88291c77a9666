"""The recipe: raw footage in, a trained video model and new videos out. Each function below is a stage.

    reelwright demo                                   footage that is drawn here, on a laptop
    reelwright demo --source footage/ --out mine      your own
    reelwright demo --size medium --address auto      more of everything, on a cluster

| stage    | what it leaves in the folder                  | two cores | why                                          |
|----------|-----------------------------------------------|-----------|----------------------------------------------|
| draw     | footage/: reels, broken files, a list, truth  | 20 s      | everything in it is known, so all is checked |
| curate   | dataset/: scenes, clips, scores, decisions    | 20 s      | cut out what is damaged, frozen or empty     |
| learn    | captioner/                                    | 4 min     | to describe, it must have seen descriptions  |
| caption  | captions alt, short and descriptive           | 1 min     | original texts are noisy and say little      |
| expander | model/expander/                               | 1 min     | users write five words, captions have forty  |
| encode   | codec/, latents                               | 20 s      | the model works on latents, made once        |
| train    | model/                                        | 1 min     | 95 % descriptive captions, 5 % original ones |
| sample   | model/samples/                                | 20 s      | text, image, extend, loop, connect           |
| evaluate | evaluation.json                               | 30 s      | facts read back, against truth and chance    |
| report   | report.html, model/report.html                | 10 s      | to be looked at                              |

Every stage finds what it did before, and does only what is missing or out of date: stop the recipe anywhere and run it
again. Each is also a verb of the command line, which the recipe prints as it goes.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from curate.config import fingerprint, load_toml, to_toml, to_tree
from curate.drawn.shot import TINY_UNTOLD, tiny_world
from curate.errors import CaptionerError, UsageError
from curate.tables import Dataset
from pipelines.engine import Engine, EngineConfig
from pipelines.run import recorded_run
from pipelines.settings import Settings

WORLD = replace(tiny_world(), motions=("left", "right", "up", "down"))
"""What the drawn footage shows: few things, so that minutes are enough to learn them. What stands still is no video."""

SAMPLES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("text-1.mp4", {"prompt": "a red circle moves to the left"}),
    ("text-2.mp4", {"prompt": "a large blue square moves up"}),
    ("text-3.mp4", {"prompt": "a small green triangle moves to the right"}),
    ("image.png", {"prompt": "a large yellow circle", "frames": 1}),
    ("animated.mp4", {"task": "animate", "inputs": ["image.png"], "prompt": "a large yellow circle moves down"}),
    ("extended.mp4", {"task": "extend", "inputs": ["text-1.mp4"], "prompt": "a red circle moves to the left"}),
    ("loop.mp4", {"task": "loop", "prompt": "a purple triangle rests in its place"}),
    ("connected.mp4", {"task": "connect", "inputs": ["text-2.mp4", "text-3.mp4"]}),
)
"""File and request; inputs are files of samples before it. With footage of your own, its captions are the prompts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeConfig:
    """How much of everything. `SIZES` has some that fit together."""

    footage_s: float = 600.0
    """Length of the footage that is drawn."""
    captioner: str = "minutes"
    """Preset of the captioner's training."""
    expander_steps: int = 300
    area_px: int = 40 * 24
    """Area of the pictures that the video model learns from; each keeps its own shape."""
    frames: int = 17
    """Longest window that it learns from."""
    fps: float = 8.0
    """Frames per second of these windows."""
    model: str = "tiny"
    """Preset of the video model's training."""
    start_from: str = "included"
    """What it begins with: the included tiny model, an hour ahead; a run of yours; or nothing."""
    model_steps: int = 300
    """More are worse for ten minutes of footage: with 800 the model learns them by heart, and forgets movement."""
    questions: int = 64
    """Prompts, and drawn clips, that the results are examined on."""
    seed: int = 0
    engine: EngineConfig = field(default_factory=EngineConfig)


SIZES: dict[str, RecipeConfig] = {
    "smoke": RecipeConfig(
        footage_s=24, captioner="smoke", expander_steps=3,
        start_from="nothing", model_steps=4, questions=4,
    ),
    "small": RecipeConfig(),
    "medium": RecipeConfig(
        footage_s=3600, captioner="full", expander_steps=1500, start_from="nothing", model_steps=15_000, questions=256
    ),
    "large": RecipeConfig(
        footage_s=36_000, captioner="full", expander_steps=5000, area_px=128 * 72, frames=33, model="small",
        start_from="nothing", model_steps=20_000, questions=512,
    ),
}  # fmt: skip
"""seconds (that the parts fit together), minutes, an hour or two on a CPU, a day on a GPU."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe under way in a folder."""

    out: Path
    config: RecipeConfig
    source: str | None
    """Footage of the user's own; None draws some."""
    captioner: str | None
    """Who describes that footage; None learns from what was measured of it."""
    engine: Engine

    @property
    def dataset(self) -> Dataset:
        return Dataset(self.out / "dataset")

    @property
    def model(self) -> Path:
        return self.out / "model"

    @property
    def start_from(self) -> str | None:
        """The run that the video model begins with."""
        from model.bundled import BUNDLED

        return {"included": str(BUNDLED), "nothing": None}.get(self.config.start_from, self.config.start_from)

    @property
    def codec(self) -> Path:
        """The codec's folder: that of the run to begin with, or one of its own."""
        return Path(self.start_from) if self.start_from else self.out / "codec"

    def caption(self, captioner: str, kind: str) -> None:
        """The verb `caption`."""
        from captioner.caption_job import resolve
        from captioner.caption_plan import plan_captions
        from pipelines.caption import caption_stage
        from pipelines.caption_settings import CaptionSettings

        settings = CaptionSettings.load(None, (), caption={"captioner": captioner, "kind": kind})
        _show("caption", self.dataset.uri, "--captioner", captioner, "--kind", kind)
        job = resolve(settings.caption)
        plan = plan_captions(self.dataset, job)
        if not plan.todo:
            return
        with recorded_run(self.dataset, "caption", settings.to_toml()) as run:
            caption_stage(self.dataset, job, plan, run, self.engine)


def draw(recipe: Recipe) -> None:
    """Ten minutes of films in many codecs and sizes, with defects, broken files and noisy captions."""
    if (recipe.out / "footage" / "truth.json").exists():  # which is written last
        return
    from curate.drawn.footage import draw_footage

    draw_footage(recipe.out / "footage", seconds=recipe.config.footage_s, seed=recipe.config.seed, world=WORLD)


def curate(recipe: Recipe) -> None:
    """Scan every file once, split it into scenes and clips, and decide which are kept."""
    from pipelines import curation
    from pipelines.cli.output import write_table

    source = recipe.source or str(recipe.out / "footage" / "footage.csv")
    settings = Settings.load(None, ["decide.val_fraction=0.2"], engine=asdict(recipe.config.engine))
    _show("curate", source, "--out", recipe.dataset.uri, "--set", "decide.val_fraction=0.2")
    with recorded_run(recipe.dataset, "curate", settings.to_toml()) as run:
        funnel = curation.curate([source], recipe.dataset, settings, run, recipe.engine)
    write_table(funnel, title="What became of every clip")


def learn(recipe: Recipe) -> None:
    """Train the captioner: on original texts, where there are any, then on short captions, then on descriptive ones.

    For drawn footage the descriptions that it learns from are those of other drawn footage, made on the fly. Footage of
    your own has none, unless `--captioner` names somebody who writes them: then ours learns to say what was measured.
    """
    folder = recipe.out / "captioner"
    if recipe.captioner is not None:
        return
    from captioner.training import train_captioner
    from captioner.training_clips import DatasetSource
    from captioner.training_config import PRESETS
    from captioner.training_data import CaptionSource, DrawnSource

    config = replace(PRESETS[recipe.config.captioner](), seed=recipe.config.seed)
    frames, seed = config.model.frames, config.seed
    source: CaptionSource
    if recipe.source is None:
        ramp = sum(stage.steps * stage.batch_size for stage in config.stages.values()) // 2
        source = DrawnSource(frames, world=WORLD, hidden=TINY_UNTOLD, ramp=ramp, seed=seed)
    else:
        kinds = ("short", "descriptive")
        for kind in kinds:
            recipe.caption("measured", kind)
        stages = {name: stage for name, stage in config.stages.items() if name != "base"}  # for it there are no texts
        stages = {name: replace(stage, mix={name: 1.0}) for name, stage in stages.items()}
        config = replace(config, stages=stages)
        source = DatasetSource(recipe.dataset, frames, kinds=kinds, prefer=("measured",), folder=folder, seed=seed)
    train_captioner(config, source, folder, workers=1, say=_say)


def caption(recipe: Recipe) -> None:
    """Keep the original texts, and caption every kept clip again, short and at length."""
    recipe.caption("original", "alt")
    name = recipe.captioner or f"coca:{recipe.out / 'captioner'}"
    for kind in ("short", "descriptive"):
        try:
            recipe.caption(name, kind)
        except CaptionerError as error:  # the gate: what does not fit its clips is stored as rejected
            _say(f"  {error}")


def expander(recipe: Recipe) -> None:
    """Train the small language model that puts short prompts into the manner of the captions."""
    from captioner.expand_lm import ExpanderTraining, is_expander, train_expander
    from captioner.frames import FrameConfig
    from captioner.training_clips import DatasetSource

    folder = recipe.model / "expander"
    if is_expander(folder):
        return
    settings = ExpanderTraining(steps=recipe.config.expander_steps, seed=recipe.config.seed)
    sets = _sets(settings, ExpanderTraining())
    _show("captioner", "train", recipe.dataset.uri, "--expander", "--out", str(folder), *sets)
    source = DatasetSource(recipe.dataset, FrameConfig(), folder=recipe.out / "captioner")
    if not {"short", "descriptive"} <= source.kinds:
        _say("  too few captions were accepted: prompts will be taken as they are")
        return
    train_expander(settings, source, folder, say=_say)


def encode(recipe: Recipe) -> None:
    """Fit the linear codec, unless the model has one already, and encode every kept clip with it."""
    from model.codec.files import FILE_NAME
    from model.codec.vae import VAEConfig
    from model.codec_train import codec_preset
    from model.footage import read_footage
    from model.latents import EncodeConfig
    from model.train_config import PRESETS
    from pipelines.encode import encode_latents
    from pipelines.train_codec import run_training

    codec, windows = recipe.codec, _windows(recipe.config)
    if not (codec / FILE_NAME).exists():
        linear = PRESETS[recipe.config.model]().data
        vae = VAEConfig(stride=linear.linear_stride, z_dim=linear.linear_z_dim)
        linear_codec = replace(codec_preset("tiny"), kind="pca")
        config = replace(linear_codec, vae=vae, windows=windows, seed=recipe.config.seed)
        _show("train-codec", recipe.dataset.uri, "--out", str(codec), "--linear", *_sets(config, linear_codec))
        footage, held_out = read_footage(recipe.dataset, windows, vae.stride)
        run_training(footage, held_out, config, codec)
    settings, usual = EncodeConfig(windows=windows), EncodeConfig(windows=PRESETS["tiny"]().data.windows)
    _show("encode", recipe.dataset.uri, "--codec", str(codec), *_sets(settings, usual, "encode."))
    with recorded_run(recipe.dataset, "encode", to_toml(settings)) as run:
        encode_latents(recipe.dataset, codec, settings, run, recipe.engine)
    recipe.engine.close()  # training wants the cores


def train(recipe: Recipe) -> None:
    """Train the diffusion transformer on latents of all sizes and lengths, packed without padding.

    The small recipe goes on with the model that is included: in minutes alone it would draw blots.
    """
    from model.train_config import PRESETS
    from pipelines.ray_launch import LaunchConfig
    from pipelines.ray_train import launch
    from pipelines.train import show_training

    preset, steps = PRESETS[recipe.config.model](), recipe.config.model_steps
    slower = 8 if recipe.start_from else 1  # what was learned before is not to be lost: at half the rate, much was
    data = replace(preset.data, codec=str(recipe.codec))
    usual = replace(preset, steps=steps, start_from=recipe.start_from, data=data)
    config = replace(
        usual,
        data=replace(data, windows=_windows(recipe.config)),
        optim=replace(preset.optim, lr=preset.optim.lr / slower, muon_lr=preset.optim.muon_lr / slower),
        seed=recipe.config.seed,
    )
    begin = ("--start-from", recipe.start_from) if recipe.start_from else ("--codec", str(recipe.codec))
    _show(
        "train", recipe.dataset.uri, "--out", str(recipe.model), "--preset", recipe.config.model, *begin,
        "--steps", str(steps), *_sets(config, usual),
    )  # fmt: skip
    where = LaunchConfig(address=recipe.config.engine.address)
    with show_training(steps) as report:
        launch(recipe.dataset.uri, recipe.model, config, where, report=report)


def sample(recipe: Recipe) -> None:
    """Make videos from text, images and videos; short prompts are expanded."""
    from model.requests import Request, fulfil
    from model.run import load_studio
    from pipelines.train import expanded, expander_of

    studio, writer = load_studio(recipe.model), expander_of(recipe.model)
    folder = recipe.model / "samples"
    folder.mkdir(exist_ok=True)
    for name, asked in _requests(recipe):
        inputs = tuple(str(folder / other) for other in asked.get("inputs", ()))
        size = {} if inputs else dict(zip(("height", "width"), _size(recipe.config), strict=True))
        request = Request(**{**size, **asked, "inputs": inputs}, seed=recipe.config.seed)
        key = fingerprint(request, studio.provenance)
        if (folder / name).exists() and _stored(folder / f"{Path(name).stem}.json").get("key") == key:
            continue
        _show(
            "sample", str(recipe.model), *([request.prompt] if request.prompt else []), "--out", str(folder / name),
            *(["--task", request.task] if request.task != "make" else []),
            *(["--size", f"{request.width}x{request.height}"] if size else []),
            *(["--frames", str(request.frames)] if request.frames else []),
            *(word for path in inputs for word in ("--input", path)),
        )  # fmt: skip
        request, notes = expanded(request, writer)
        fulfil(studio, request, folder / name, notes={**notes, "key": key})


def evaluate(recipe: Recipe) -> None:
    """What captions and videos show, read back: held-out loss, and facts against truth where it is known."""
    from model.dataset import NothingToTrainOnError
    from model.evaluate import attribute_accuracy, drawn_questions
    from model.run import load_studio
    from pipelines.train import evaluate_run

    results_path, studio = recipe.out / "evaluation.json", load_studio(recipe.model)
    key = fingerprint(recipe.config, studio.provenance)
    results = _stored(results_path)
    if results.get("key") != key:
        results = {"key": key, "captioner": _examine_captioner(recipe), "model": {}}
        num = recipe.config.questions
        try:
            results["model"] = evaluate_run(str(recipe.model), recipe.dataset.uri, drawn=0, clips=num)
        except NothingToTrainOnError:  # no video fell to the validation side
            results["model"] = {}
        if recipe.source is None:
            config = recipe.config
            questions = drawn_questions(
                num, sizes=[_size(config)], frames=[config.frames], fps=config.fps, world=WORLD, hidden=TINY_UNTOLD
            )
            results["model"]["facts"] = attribute_accuracy(studio, questions)
        results_path.write_text(json.dumps(results, indent=1), encoding="utf-8")
    _print_evaluation(results)


def report(recipe: Recipe) -> None:
    """Write the two pages."""
    from pipelines.report.write import write_report

    for target, path in ((recipe.dataset.uri, recipe.out / "report.html"), (str(recipe.model), None)):
        _show("report", target, *(["--out", str(path)] if path else []))
        write_report(target, path)


STAGES: tuple[Callable[[Recipe], None], ...] = (
    draw, curate, learn, caption, expander, encode, train, sample, evaluate, report,
)  # fmt: skip


def run_recipe(out: Path, config: RecipeConfig, *, source: str | None = None, captioner: str | None = None) -> None:
    """Run all stages; what is done already is found and left as it is.

    Raises UsageError for a folder that was begun with other footage.
    """
    from pipelines.cli.output import write_table

    _begin(out, config, source)
    stages = [stage for stage in STAGES if source is None or stage is not draw]
    seconds: list[float] = []
    with Engine(config.engine) as engine:
        recipe = Recipe(out, config, source, captioner, engine)
        for number, stage in enumerate(stages, 1):
            _say(f"\n{number}/{len(stages)} {stage.__name__}: {(stage.__doc__ or '').splitlines()[0]}")
            began = time.monotonic()
            stage(recipe)
            seconds.append(round(time.monotonic() - began, 1))
    import pyarrow as pa

    table = pa.table({"stage": [stage.__name__ for stage in stages] + ["all"], "seconds": [*seconds, sum(seconds)]})
    write_table(table, title="Time of this run")
    _say(f"look at {out / 'report.html'}, {recipe.model / 'report.html'} and {recipe.model / 'samples'}")


def _begin(out: Path, config: RecipeConfig, source: str | None) -> None:
    """Write down what the footage of this folder is, or compare it with that."""
    path = out / "recipe.toml"
    footage = {"footage_s": config.footage_s, "seed": config.seed, "source": source or "drawn"}
    if path.exists():
        before = load_toml(path)
        for name, value in footage.items():
            if before.get(name) != value:
                raise UsageError(f"{out} was begun with {name} = {before.get(name)}, not {value}; name another --out")
    else:
        out.mkdir(parents=True, exist_ok=True)
        path.write_text(to_toml(footage), encoding="utf-8")


def _examine_captioner(recipe: Recipe) -> dict[str, Any] | None:
    """Facts in captions of drawn clips that show combinations which were never trained on."""
    if recipe.source is not None:
        return None
    from captioner.base import CaptionRequest
    from captioner.evaluate.drawn_clips import drawn_clips
    from captioner.evaluate.report import slot_rows
    from captioner.evaluate.suite import evaluate as examine
    from captioner.makers.by_name import open_captioner
    from captioner.prompts import PROMPTS

    known = drawn_clips(recipe.config.questions, kind="descriptive", world=WORLD, seed=recipe.config.seed)
    writer = open_captioner(f"coca:{recipe.out / 'captioner'}")
    asked = CaptionRequest(kind="descriptive", prompt=PROMPTS["descriptive"], decode=writer.identity.decode)
    truth = [{slot: value for slot, value in each.truth.items() if slot not in TINY_UNTOLD} for each in known]
    result = examine(writer, [each.clip for each in known], asked, truth=truth)
    writer.close()
    return {"clips": len(known), "slots": slot_rows(result.facts) if result.facts else []}


def _print_evaluation(results: dict[str, Any]) -> None:
    import pyarrow as pa

    from pipelines.cli.output import write_table

    if results["captioner"]:
        write_table(
            pa.Table.from_pylist(results["captioner"]["slots"]), title="Facts in captions of unseen combinations"
        )
    facts = results["model"].get("facts", {})
    chances = {"shape": WORLD.shapes, "color": WORLD.colors, "size": WORLD.sizes, "motion": WORLD.motions,
               "background_color": WORLD.background_colors}  # fmt: skip
    rows = [
        {"fact": name, "shown": entry["share"], "from": entry["interval"][0], "to": entry["interval"][1],
         "by chance": 1 / len(chances[name]) if name in chances else None}
        for name, entry in facts.items()
    ]  # fmt: skip
    if rows:
        write_table(pa.Table.from_pylist(rows), title="Facts of unseen combinations that videos show")
    if "held_out" in results["model"]:
        _say(f"  held-out loss {results['model']['held_out']['loss']:.4f}")


def _requests(recipe: Recipe) -> list[tuple[str, dict[str, Any]]]:
    if recipe.source is None:
        return list(SAMPLES)
    import pyarrow.compute as pc

    accepted = (pc.field("kind") == "short") & (pc.field("status") == "ok")
    texts = sorted(set(recipe.dataset.read("captions", ["text"], where=accepted)["text"].to_pylist())) or [None]
    spread = [texts[index * len(texts) // len(SAMPLES)] for index in range(len(SAMPLES))]
    return [
        (name, {**asked, "prompt": text} if "prompt" in asked else asked)
        for (name, asked), text in zip(SAMPLES, spread, strict=True)
    ]


def _windows(config: RecipeConfig) -> Any:
    from model.windows import WindowConfig

    return WindowConfig(max_area_px=config.area_px, fps=config.fps, max_frames=config.frames, min_frames=5)


def _size(config: RecipeConfig) -> tuple[int, int]:
    """Height and width of what is sampled: about 16:10, of the area that is trained on."""
    return 8 * round((config.area_px * 0.6) ** 0.5 / 8), 8 * round((config.area_px / 0.6) ** 0.5 / 8)


def _stored(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _sets(settings: Any, usual: Any, path: str = "") -> list[str]:
    """What to tell a command for these settings, where it takes the usual ones by itself."""
    words, others = [], to_tree(usual)
    for key, value in to_tree(settings).items():
        if isinstance(value, Mapping):
            words += _sets(value, others.get(key, {}), f"{path}{key}.")
        elif value != others.get(key):
            words += ["--set", f"{path}{key}={json.dumps(value)}"]
    return words


def _show(*words: str) -> None:
    """The command that does the same."""
    _say(f"  reelwright {shlex.join(words)}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
