"""Runs every check of the project: `nox` runs them all, `nox --list` names them."""

import os
import shutil
import sys
from itertools import chain
from pathlib import Path

import nox
from packaging.requirements import Requirement

nox.needs_version = ">=2026.10.20"  # the oldest that was seen to run sessions in parallel
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False
# The whole check runs two sessions at a time: while one waits for a package, a lease or a browser,
# the other one works. A session that is asked for by name shows its output as it comes.
nox.options.allow_parallel = True
if not {"-s", "--session", "--sessions"} & set(sys.argv):
    nox.options.parallel = 2

# A machine may forbid bytecode: without, each of hundreds of processes compiles its modules again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

PYPROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PYPROJECT)
EXTRAS = ",".join(PYPROJECT["project"]["optional-dependencies"])

# The markers stand in pyproject.toml.
FAST = "not (slow or once or endurance or site)"
SLOW = "slow and not (once or endurance or site)"
LONG = "once and not site"
# Places in `tests` where neither the oldest Python nor the oldest dependencies can show anything
# that the last Python does not: what tools of the newest release read, build or run, and what
# several processes do to each other, or a kill to one.
SAME_AT_BOTH_ENDS = (
    "cli/test_bulk_interrupt.py",
    "cli/test_bulk_ledger.py",
    "delivery/test_no_report_lost.py",
    "delivery/test_services.py",
    "docs",
    "ledger/test_crash.py",
    "otp/test_attacks.py",
    "otp/test_crash.py",
    "queue/test_commands.py",
    "queue/test_crash.py",
    "queue/test_fleet.py",
    "queue/test_outages.py",
    "queue/test_preflight.py",
    "queue/test_worker.py",
    "test_pytest_esms_async.py",
    "tools",
    "typing",
)
# Places that a Python between the ends runs: what stands on asyncio, sockets and TLS, which change
# from one Python to the next, and the import of everything that is public.
IN_BETWEEN = (
    "http",
    "send",
    "test_client.py",
    "test_contract.py",
    "test_names.py",
    "test_promises.py",
)
# Places that run without coverage, which takes a third of a test's time: other tests show the
# same lines and branches. Where one is theirs alone, `coverage` names it: take the place out.
UNMEASURED = (
    "delivery/test_no_report_lost.py",
    "delivery/test_services.py",
    "docs",
    "emulator/test_hostile.py",
    "ledger/test_crash.py",
    "otp/test_crash.py",
    "queue/test_crash.py",
    "test_promises.py",
    "truth/test_model.py",
    "truth/test_rows.py",
)
# Places that have a session of their own, which installs what they need.
ELSEWHERE = ("recipes", "test_benchmarks.py")

DIST = Path("dist")
COVERAGE = Path(".cache/coverage").resolve()
DOCS = Path(".cache/docs")

# The time of files in the sdist and the wheel; the workflow of a release sets it.
REPRODUCIBLE = {"SOURCE_DATE_EPOCH": os.environ.get("SOURCE_DATE_EPOCH", "1700000000")}
LARGEST_BUILD = 600_000

# pyenv hides interpreters that are not selected; the sessions need all of them.
_PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
_REAL = [str(folder) for python in PYTHONS for folder in sorted(_PYENV.glob(f"{python}.*/bin"))]
os.environ["PATH"] = os.pathsep.join([*_REAL, os.environ["PATH"]])

FIRST = PYTHONS[0]
# The newest Python is not on every machine: what runs at this end runs on the last one that is.
LAST = ([python for python in PYTHONS if shutil.which(f"python{python}")] or PYTHONS)[-1]


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format."""
    _install(session, *_group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session(default=False, reuse_venv=True)
def quick(session: nox.Session) -> None:
    """Check style and types, and run the tests that need no other process, on this Python."""
    _install(session, *_group("lint"), *_group("types"), "--editable", f".[{EXTRAS}]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("pyright", "--pythonpath", str(Path(session.bin, "python")))
    session.run(
        "pytest", "-q", "--numprocesses=auto", "--dist=worksteal", "-m", FAST, *session.posargs
    )


@nox.session
def wheel(session: nox.Session) -> None:
    """Build sdist and wheel twice, compare the builds, and check their contents."""
    _install(session, *_group("wheel"))
    again = Path(session.create_tmp(), "dist")
    for folder in (DIST, again):
        shutil.rmtree(folder, ignore_errors=True)
        session.run("python", "-m", "build", "--outdir", str(folder), env=REPRODUCIBLE)
    session.run("check-wheel-contents", str(DIST))
    session.run("twine", "check", "--strict", *map(str, DIST.iterdir()))
    for built in DIST.iterdir():
        if built.read_bytes() != (again / built.name).read_bytes():
            session.error(f"{built.name} differs from one build to the next")
        if built.stat().st_size > LARGEST_BUILD:
            session.error(f"{built.name} has {built.stat().st_size} bytes")


# The longest run comes first, so that none is left alone at the end.
@nox.session(python=[LAST, *(each for each in PYTHONS if each != LAST)], requires=["wheel"])
def tests(session: nox.Session) -> None:
    """Run the tests; arguments after `--` go to pytest.

    A difference between Pythons, or between dependencies, shows at the ends. So the last Python
    that is there runs the fast and the slow tests with the newest dependencies, and the first one
    runs them with the oldest ones, in the session `oldest`. Those in between run the fast ones of
    some places. The long ones, a browser's among them, run once, on the first Python, and without
    coverage, which would take most of their time. Tests that repeat a smaller one with larger
    numbers run in the session `endurance` alone.
    """
    first, last = session.python == FIRST, session.python == LAST
    _install_tests(session)
    if not (first or last):
        _run_tests(session, FAST, places=IN_BETWEEN)
    if first:
        _run_tests(session, LONG)
    if last:
        # What is asked for after `--` may stand in any place.
        apart = () if session.posargs else UNMEASURED
        _run_tests(session, _any_of(FAST, SLOW), left_out=apart, measured=True)
        if apart:
            _run_tests(session, _any_of(FAST, SLOW), places=apart)


@nox.session(python=FIRST, requires=["wheel"])
def oldest(session: nox.Session) -> None:
    """Run the fast and the slow tests with the oldest dependencies that the package allows."""
    # Not in nox's folder for the session: that is also the folder for temporary files, and would
    # put the projects that tests make inside this one.
    constraints = COVERAGE.with_name("oldest.txt")
    constraints.parent.mkdir(parents=True, exist_ok=True)
    constraints.write_text("\n".join(_lower_bounds()), encoding="utf-8")
    session.log(f"Oldest allowed: {', '.join(_lower_bounds())}")
    _install_tests(session, "--constraint", str(constraints))
    _run_tests(session, _any_of(FAST, SLOW), left_out=SAME_AT_BOTH_ENDS)


@nox.session
def types(session: nox.Session) -> None:
    """Check the types: mypy everywhere, pyright in the package, and three checkers as callers."""
    _install(session, *_group("types"), "--editable", f".[{EXTRAS}]")
    python = str(Path(session.bin, "python"))
    session.run("mypy")
    session.run("pyright", "--pythonpath", python)
    session.run("pyright", "--pythonpath", python, "tests/typing")
    session.run("pyright", "--verifytypes", "esms_async", "--ignoreexternal")
    strict = ("--preset", "strict", "--error", "unused-type-ignore")
    session.run("pyrefly", "check", *strict, "--python-interpreter-path", python, "tests/typing")


@nox.session
def layers(session: nox.Session) -> None:
    """Check that imports follow the layers."""
    _install(session, *_group("layers"))
    session.run("lint-imports", "--no-cache", "--no-logo")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation and check its pages; a warning or a dead link is an error."""
    _install(session, *_group("docs"), *_group("test"), f".[{EXTRAS}]")
    strict = ("--fail-on-warning", "--keep-going", "--fresh-env", "--quiet")
    session.run("sphinx-build", *strict, "-d", str(DOCS / "doctrees"), "docs", str(DOCS / "html"))
    session.env["ESMS_DOCS"] = str(DOCS / "html")
    session.run("python", "-m", "pytest", "-q", "-m", "site", "tests/docs/test_site.py")
    session.log(f"Open {DOCS / 'html' / 'index.html'}")


@nox.session(python=FIRST, requires=["wheel"])
def recipes(session: nox.Session) -> None:
    """Run the recipes for other task queues with the libraries that they are for."""
    (built,) = map(str, DIST.glob("*.whl"))
    _install(session, *_group("test"), *_group("recipes"), f"{built}[{EXTRAS}]")
    session.run("python", "-m", "pytest", "-q", "tests/recipes", "-k", "not arq")
    # It puts an older redis-py in the place of the one that the others use.
    _install(session, *_group("recipe-arq"))
    session.run("python", "-m", "pytest", "-q", "tests/recipes", "-k", "arq")


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Run the tests of the benchmarks with the libraries that they compare."""
    _install(session, *_group("test"), *_group("bench"), "--editable", f".[{EXTRAS}]")
    session.run("python", "-m", "pytest", "-q", "-n", "auto", "tests/test_benchmarks.py")


@nox.session(allow_parallel=False)  # once the sessions before it have ended
def coverage(session: nox.Session) -> None:
    """Combine the coverage of what was measured, and require every line and branch."""
    _install(session, *_group("coverage"))
    session.env["COVERAGE_FILE"] = str(COVERAGE / "data")
    session.run("coverage", "combine")
    session.run("coverage", "report")


@nox.session(python=FIRST, requires=["wheel"], default=False)
def endurance(session: nox.Session) -> None:
    """Run the long tests and the larger ones with five times their usual numbers."""
    session.env.setdefault("ESMS_TIMES", "5")
    _install_tests(session)
    _run_tests(session, _any_of(LONG, "endurance"))


@nox.session(default=False)
def audit(session: nox.Session) -> None:
    """Look up the package's dependencies, extras included, in the advisory service."""
    _install(session, *_group("audit"), f".[{EXTRAS}]")
    session.run("pip-audit", "--local")


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Run the benchmarks; arguments after `--` choose them."""
    _install(session, *_group("bench"), f".[{EXTRAS}]")
    session.run("python", "-m", "benchmarks", *(session.posargs or ["all"]))


@nox.session(default=False)
def pictures(session: nox.Session) -> None:
    """Make new pictures for the READMEs and the docs, with Chromium."""
    _install(session, *_group("pictures"), ".[cli,excel]")
    session.run("python", "-m", "tools.pictures")


@nox.session(default=False)
def fix(session: nox.Session) -> None:
    """Format the code, and fix style problems where ruff can."""
    _install(session, *_group("lint"))
    # Format also where something is left that ruff can't fix; name that at the end.
    session.run("ruff", "check", "--fix-only", ".")
    session.run("ruff", "format", ".")
    session.run("ruff", "check", ".")


@nox.session(default=False, venv_backend="none")
def dev(session: nox.Session) -> None:
    """Install the package, editable, and every tool into the environment of this nox."""
    # arq asks for another redis-py than the rest.
    names = (name for name in PYPROJECT["dependency-groups"] if name != "recipe-arq")
    groups = chain.from_iterable(map(_group, names))
    session.run(
        sys.executable, "-m", "pip", "install", "--quiet", "--editable", f".[{EXTRAS}]", *groups
    )


def _install(session: nox.Session, *what: str) -> None:
    """Install packages; Python compiles those modules that something imports, pip all of them."""
    session.install("--no-compile", *what)


def _group(name: str) -> tuple[str, ...]:
    """Return the requirements of a dependency group."""
    return nox.project.dependency_groups(PYPROJECT, name)


def _lower_bounds() -> list[str]:
    """Return a pin for each dependency of the package, extras included, at its lower bound."""
    project = PYPROJECT["project"]
    written = chain(project["dependencies"], *project["optional-dependencies"].values())
    pins: list[str] = []
    for requirement in map(Requirement, written):
        (bound,) = (each for each in requirement.specifier if each.operator == ">=")
        pins.append(f"{requirement.name}=={bound.version}")
    return pins


def _any_of(*kinds: str) -> str:
    """Return the mark expression that takes tests of each kind."""
    return " or ".join(f"({kind})" for kind in kinds)


def _install_tests(session: nox.Session, *options: str) -> None:
    """Install the wheel and what the tests need."""
    (built,) = map(str, DIST.glob("*.whl"))
    _install(session, *options, *_group("test"), f"{built}[{EXTRAS}]")
    # With `nox -r` the environment holds an older wheel of the same version.
    _install(session, "--force-reinstall", "--no-deps", built)


def _run_tests(
    session: nox.Session,
    marked: str,
    *,
    places: tuple[str, ...] = (),
    left_out: tuple[str, ...] = (),
    measured: bool = False,
) -> None:
    """Run marked tests on the installed wheel; Python's safe path keeps the checkout out."""
    session.env["PYTHONSAFEPATH"] = "1"
    # Stealing keeps the cores at work until the end: the long tests differ by minutes. While one
    # worker waits for a lease or a browser, another one works, or another session.
    workers = 3 * (os.cpu_count() or 1) // 2
    shared = (f"--numprocesses={workers}", "--dist=worksteal")
    chosen = [f"tests/{place}" for place in places]
    ignored = [f"--ignore=tests/{place}" for place in (*left_out, *ELSEWHERE)]
    options = ("-m", "pytest", *shared, *chosen, *ignored, "-m", marked, *session.posargs)
    if not measured:
        session.run("python", *options)
        return
    session.env["COVERAGE_FILE"] = str(COVERAGE / "data")
    session.run("coverage", "erase")
    session.run("coverage", "run", *options)
