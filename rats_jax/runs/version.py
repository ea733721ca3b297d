"""The versions of the code and packages of a run."""

import subprocess
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import rats_jax

PACKAGE = Path(rats_jax.__file__).parent
PACKAGES = ("jax", "numpy", "grain", "pillow", "simplejpeg", "cykooz_resizer")


def code_version() -> str:
    """For example "0.2.0 c2e7cd5ac147+changes": the package's version and, if its folder is
    tracked by git, the commit and whether files of the package differ from it."""
    commit = _git("rev-parse", "--short=12", "HEAD")
    if not commit or not _git("ls-files", "__init__.py"):  # a repository that only surrounds it
        return rats_jax.__version__
    changes = "+changes" if _git("status", "--porcelain", "--", ".") else ""
    return f"{rats_jax.__version__} {commit}{changes}"


def _git(*arguments: str) -> str:
    """The output of git, run in the package's folder; "" if git is not installed or fails.

    Without optional locks: a run killed meanwhile would leave index.lock in the repository.
    """
    command = ["git", "--no-optional-locks", *arguments]
    try:
        done = subprocess.run(command, cwd=PACKAGE, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def package_versions() -> dict[str, str]:
    """Versions of the installed packages that compute, draw random numbers and decode images."""
    versions = {}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions
