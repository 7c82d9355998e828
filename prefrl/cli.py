"""The command line: from words to a call; what a command does is elsewhere, imported when it is called."""

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from prefrl.flags import add_settings, config, positive
from prefrl.names import resolve, unknown
from prefrl.runs import RunConfig, RunFolder, free_folder
from prefrl.summarize.commands import add_summarize
from prefrl.transfer import add_transfer

if TYPE_CHECKING:
    from prefrl.reproduce.engine import Engine
    from prefrl.web.options import PageOptions

DEMO: dict[str, Any] = {
    "env": "prefrl/HalfCheetah-v0",
    "oracle": "human",
    "total_timesteps": 20_000_000,
    "labels": 1_000,
    "checkpoint_every": 1_000_000,
    "turns": 1_000,
}
"""An hour of labelling: the policy takes some 7,000 steps a second meanwhile."""

SEARCH = (
    "what varies: learning_rate=1e-4..1e-2:log gamma=0.98,0.99 fit.lr=1e-4..1e-2:log members=1..5; "
    "what suits the algorithm, if not given"
)

DONE, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; 0: done, 1: failed on the way, 2: asked for what cannot be, 130: interrupted."""
    try:
        given = parser().parse_args(argv)
        return int(given.run(given) or DONE)
    except (ValueError, FileExistsError, FileNotFoundError, NotADirectoryError, PermissionError) as error:
        return _say(error, MISUSED)
    except (RuntimeError, OSError) as error:
        return _say(error, FAILED)
    except KeyboardInterrupt as stop:
        return _say(str(stop) or "interrupted", INTERRUPTED)


def _say(message: object, code: int) -> int:
    print(f"prefrl: {' '.join(str(message).split())}", file=sys.stderr)
    return code


class _Parser(argparse.ArgumentParser):
    """Refuses unknown words in one line, with the nearest known one."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        given, rest = self.parse_known_args(args, namespace)
        if rest:
            raise unknown("flag", rest[0].split("=")[0], _flags(getattr(given, "parser", self)))
        return given

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            raise unknown(str(action.metavar or action.dest).lower(), value, action.choices)

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}; see `{self.prog} --help`")


def _flags(command: argparse.ArgumentParser) -> list[str]:
    return [flag for action in command._actions for flag in action.option_strings]


def parser() -> argparse.ArgumentParser:
    top = _Parser(prog="prefrl", description="Deep reinforcement learning from preferences.")
    commands = top.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)

    def command(name: str, run: Callable[[argparse.Namespace], int | None], about: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=about, description=about)
        made.set_defaults(run=run, parser=made)
        return made

    made = command("train", _train, "Train a policy, and the reward it is paid, from preferences.")
    made.add_argument("--config", type=Path, help="settings as YAML, such as a run's config.yaml; flags go before it")
    made.add_argument("--out", type=Path, help="the run's new folder; made up under runs/ if not given")
    add_settings(made)
    _add_progress(made)
    made.add_argument("--track", action="store_true", help="also log to Weights & Biases: needs prefrl[track]")
    _add_page(made)

    made = command("resume", _resume, "Go on with a run that was cut off, from its last checkpoint.")
    made.add_argument("run_folder", metavar="RUN", type=Path)
    _add_progress(made)
    _add_page(made)

    made = command("demo", _demo, "Train HalfCheetah to run as you like: label pairs of clips in the browser.")
    made.add_argument("--env", default=DEMO["env"], help="a task to train instead")
    made.add_argument("--out", type=Path, help="the run's new folder; made up under runs/ if not given")
    _add_page(made)

    made = command("label", _label, "Serve the labelling page of a run, running or not.")
    made.add_argument("run_folder", metavar="RUN", type=Path)
    made.add_argument("--overlap", type=float, help="share of pairs that two labellers are asked about")
    made.add_argument("--repeats", type=float, help="share of pairs that one is asked about twice")
    _add_page(made)

    made = command("evaluate", _evaluate, "Play episodes with a run's policy, under the true reward.")
    made.add_argument("run_folder", metavar="RUN", type=Path)
    made.add_argument("--episodes", type=positive, default=20)
    made.add_argument("--best", action="store_true", help="the best checkpoint instead of the newest")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--json", action="store_true", help="print JSON")

    made = command("fit", _fit, "Fit a new reward to a run's stored labels; no environment is needed.")
    made.add_argument("run_folder", metavar="RUN", type=Path)
    made.add_argument("--fit", help="settings that differ from the run's: fit(first_passes=100)")
    made.add_argument("--seed", type=int, default=0)

    made = command("report", _report, "One HTML file: learning curves and the health of the reward.")
    made.add_argument("run_folders", metavar="RUN", type=Path, nargs="+")
    made.add_argument("--out", type=Path, help="where to write; report.html of the first run if not given")

    _add_claims(command)

    add_summarize(command)

    add_transfer(command)

    made = command("check-env", _check_env, "Say what an environment lacks for learning from preferences.")
    made.add_argument("env", metavar="ID", help="Gymnasium id, module:Id-v0, or module:factory")
    made.add_argument("--show-score", nargs="?", const="all", help="who sees the score of a game")

    command("doctor", _doctor, "Say what is installed, and what is missing.")
    return top


def _add_page(command: argparse.ArgumentParser) -> None:
    page = command.add_argument_group("the labelling page, where people answer")
    page.add_argument("--host", default="127.0.0.1", help="address to serve it at; others need an invitation")
    page.add_argument("--port", type=int, help="8000 or the next that is free, if not given")
    page.add_argument("--no-browser", action="store_true", help="only print the address")
    page.add_argument("--invite", nargs="+", default=[], metavar="NAME", help="print a secret link for each labeller")
    page.add_argument("--revoke", nargs="+", default=[], metavar="NAME", help="make labellers' links invalid")
    page.add_argument("--open-to-all", action="store_true", help="let in whoever reaches the address")
    page.add_argument("--allow-host", nargs="+", default=[], metavar="HOST", help="further names of this machine")


def _page(given: argparse.Namespace) -> "PageOptions":
    from prefrl.web.options import PageOptions

    return PageOptions(
        host=given.host,
        port=given.port,
        open_browser=not given.no_browser,
        open_to_all=given.open_to_all,
        allow_hosts=tuple(given.allow_host),
        invite=tuple(given.invite),
        revoke=tuple(given.revoke),
    )


def _add_claims(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Commands that make many runs."""
    made = command(
        "reproduce", _reproduce, "Make the runs of a claim of the paper, and the tables and figures they come to."
    )
    made.add_argument("claim", metavar="NAME", help="mujoco, ablations, ... of the folder experiments, or module:name")
    made.add_argument("--seeds", type=positive, help="runs of each kind; as the claim says, if not given")
    made.add_argument("--tasks", nargs="+", default=[], metavar="TASK", help="some of the claim's tasks only")
    made.add_argument("--quick", action="store_true", help="20,000 steps, 30 labels, 1 seed: to see that all runs work")
    made.add_argument("--runs", type=Path, help="folder of the runs; runs/NAME if not given")
    made.add_argument(
        "--results", type=Path, help="folder of tables and figures; experiments/results/NAME if not given"
    )
    _add_engine(made)

    made = command("tune", _tune, "Search for settings: trials that Optuna proposes, judged by the true return.")
    made.add_argument("--config", type=Path, help="settings as YAML, around which to search; flags go before it")
    made.add_argument("--search", nargs="+", default=[], metavar="NAME=VALUES", help=SEARCH)
    made.add_argument("--trials", type=positive, default=20, help="those of earlier calls on the folder included")
    made.add_argument("--seeds", type=positive, default=1, help="runs of a trial, whose mean is its value")
    made.add_argument("--out", type=Path, help="the search's folder, gone on with if it is there")
    add_settings(made)
    _add_engine(made)


def _add_engine(command: argparse.ArgumentParser) -> None:
    made = command.add_argument_group("where runs are made")
    made.add_argument("--engine", default="local", help="local: on this machine; ray: on a Ray cluster")
    made.add_argument("--jobs", type=positive, help="runs at a time; as many as there are cores, if not given")
    made.add_argument("--address", help="of a Ray cluster that is there; one is begun on this machine, if not given")


def _engine(given: argparse.Namespace) -> "Engine":
    if given.engine == "local":
        from prefrl.reproduce.local import Local

        if given.address:
            raise ValueError("--address is of a Ray cluster: add --engine ray")
        return Local(given.jobs) if given.jobs else Local()
    if given.engine == "ray":
        from prefrl.reproduce.cluster import OnRay

        return OnRay(given.address, given.jobs)
    raise unknown("engine", given.engine, ["local", "ray"])


def _add_progress(command: argparse.ArgumentParser) -> None:
    command.add_argument("-P", "--progress", action="store_true", help="show a progress bar")


def _train(given: argparse.Namespace) -> None:
    _run(config(given), given, track=given.track, progress=given.progress)


def _demo(given: argparse.Namespace) -> None:
    _run(RunConfig.of(DEMO | {"env": given.env}), given)


def _run(config: RunConfig, given: argparse.Namespace, **options: bool) -> None:
    out = given.out or free_folder(config)
    with _resumable(out):
        from prefrl.train import train

        folder = train(config, out, page=_page(given), **options)
    _tell(folder)


def _resume(given: argparse.Namespace) -> None:
    with _resumable(given.run_folder):
        from prefrl.train import resume

        folder = resume(given.run_folder, progress=given.progress, page=_page(given))
    _tell(folder)


def _label(given: argparse.Namespace) -> None:
    from prefrl.web.serve import serve

    if RunFolder.open(given.run_folder).summary is not None:
        print(f"this run is finished: `prefrl fit {given.run_folder}` learns a reward from new answers")
    shares = {name: getattr(given, name) for name in ("overlap", "repeats")}
    shares = _people(given.run_folder) | {name: share for name, share in shares.items() if share is not None}
    serve(given.run_folder, replace(_page(given), **shares))


def _people(run: Path) -> dict[str, float]:
    """The shares that the run's own page has."""
    from prefrl import oracles

    oracle = RunFolder.open(run).config.oracle
    with suppress(ValueError):  # a name of the user's that is not to be found here is none of the page's business
        if isinstance(people := resolve(oracle, oracles, "oracle"), oracles.Human):
            return {"overlap": people.overlap, "repeats": people.repeats}
    return {}


@contextmanager
def _resumable(run: Path) -> Iterator[None]:
    """Adds to what ends a run on the way how to go on with it."""
    try:
        yield
    except (KeyboardInterrupt, RuntimeError, OSError) as end:
        if not (run / "config.yaml").is_file():
            raise
        kind = KeyboardInterrupt if isinstance(end, KeyboardInterrupt) else RuntimeError
        words = str(end) or "interrupted"
        raise kind(f"{words}; go on with `prefrl resume {shlex.quote(str(run))}`") from end


def _tell(folder: RunFolder) -> None:
    from prefrl.report import learning_curve, report

    summary = folder.summary or {}
    curve = learning_curve([folder.path], folder.path / "curve.png")
    page = report([folder.path])
    few = "" if summary["labels"] >= folder.config.labels else f" (of {folder.config.labels} wanted)"
    paid = f"from {summary['labels']} labels{few}" if summary["reward"] == "learned" else "from the true reward"
    correlation = "" if summary["pearson"] is None else f"; learned and true reward correlate {summary['pearson']:.2f}"
    print(
        f"{summary['env']} {paid}: true return {summary['eval_return_mean']:.0f} "
        f"(untrained {summary['untrained_return']:.0f}){correlation}\n"
        f"Learning curve: {curve}\nReport:         {page}\nRun:            {folder.path}"
    )


def _evaluate(given: argparse.Namespace) -> None:
    from prefrl.evaluate import evaluate

    found = evaluate(given.run_folder, given.episodes, given.best, given.seed).as_dict()
    if given.json:
        print(json.dumps(found))
    else:
        correlation = (
            "" if found["pearson"] is None else f", Pearson of learned with true reward {found['pearson']:.2f}"
        )
        print(f"{found['return_mean']:.1f} ± {found['return_std']:.1f} over {found['episodes']} episodes{correlation}")


def _fit(given: argparse.Namespace) -> None:
    from prefrl.refit import refit

    print(json.dumps(refit(given.run_folder, given.fit, given.seed), indent=2))


def _report(given: argparse.Namespace) -> None:
    from prefrl.report import report

    print(report(given.run_folders, given.out))


def _reproduce(given: argparse.Namespace) -> int:
    from prefrl.reproduce.reproduction import find_claim, reproduce

    claim, engine = find_claim(given.claim), _engine(given)
    options = {name: getattr(given, name) for name in ("seeds", "tasks", "quick", "runs", "results")}
    try:
        made = reproduce(claim, engine=engine, **options)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; the same command goes on") from None
    for name, trouble in made.troubles.items():
        print(f"{name} failed: {trouble}", file=sys.stderr)
    return FAILED if made.troubles else DONE


def _tune(given: argparse.Namespace) -> None:
    from prefrl.processes import to_stderr
    from prefrl.reproduce.local import cores
    from prefrl.tune import tune, usual_folder

    base = config(given)
    out = given.out or usual_folder(base)
    engine, jobs = _engine(given), given.jobs or cores()
    try:
        print(tune(base, given.search, out, engine, given.trials, given.seeds, jobs, to_stderr))
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; the same command goes on") from None


def _check_env(given: argparse.Namespace) -> int:
    from prefrl.control.environments import describe, findings

    found = findings(given.env, **({"show_score": given.show_score} if given.show_score else {}))
    print(describe(found))
    return FAILED if any(finding.needed and not finding.ok for finding in found) else DONE


def _doctor(given: argparse.Namespace) -> None:
    from prefrl.doctor import examine

    print(examine())


if __name__ == "__main__":
    sys.exit(main())
