"""Which code, and which packages, a run is made with."""

import subprocess
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import rats_jax

PACKAGE = Path(rats_jax.__file__).parent
PACKAGES = ("jax", "numpy", "grain", "pillow", "simplejpeg", "cykooz_resizer")


def code_version() -> str:
    """Such as "0.2.0 c2e7cd5ac147+changes": the package's version and, where its folder is tracked
    by git, the commit, and whether files of the package differ from it."""
    commit = _git("rev-parse", "--short=12", "HEAD")
    if not commit or not _git(
        "ls-files", "__init__.py"
    ):  # of a repository that merely surrounds it
        return rats_jax.__version__
    changes = "+changes" if _git("status", "--porcelain", "--", ".") else ""
    return f"{rats_jax.__version__} {commit}{changes}"


def _git(*arguments: str) -> str:
    """What git says, run in the package's folder; "" where there is no git or it fails.

    Without optional locks: a run that is killed meanwhile would leave index.lock in the repository.
    """
    command = ["git", "--no-optional-locks", *arguments]
    try:
        done = subprocess.run(command, cwd=PACKAGE, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def package_versions() -> dict[str, str]:
    """Of what computes, draws the order and random numbers, and decodes images, where they are
    installed."""
    versions = {}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions
