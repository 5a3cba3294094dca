"""The wheel, installed as uv tool and pipx install it: in an environment of its own, linked to."""

from __future__ import annotations

import plistlib
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

pytestmark = pytest.mark.xdist_group("wheel")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The link to ``specd`` that such a tool puts on PATH; its environment has an odd name."""
    root = tmp_path_factory.mktemp("tool")
    _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(root))
    (wheel,) = root.glob("*.whl")
    environment = root / "tools für ada" / "specd"
    venv.create(environment, with_pip=True)
    python = str(environment / "bin" / "python")
    # The dependencies of this environment stand in for those that would be downloaded.
    packages = _run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
    (Path(packages) / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    _run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel))
    link = root / "bin" / "specd"
    link.parent.mkdir()
    link.symlink_to(environment / "bin" / "specd")
    return link


def _run(*command: str) -> str:
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def specd(link: Path, *words: str) -> str:
    home = link.parent.parent
    done = subprocess.run(
        [link, *words],
        env={"HOME": str(home), "PATH": "/usr/bin:/bin", "SPECD_STATE_DIR": str(home / "state")},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


def test_it_runs_from_the_link(installed: Path) -> None:
    assert specd(installed, "--version").startswith("specd ")
    assert "usage: specd COMMAND" in specd(installed, "--help")


@pytest.mark.parametrize("platform", ["macos", "linux"])
def test_the_service_starts_the_interpreter_of_that_environment(
    installed: Path, platform: str
) -> None:
    told = specd(installed, "install", "--print", "--platform", platform)
    python = installed.resolve().parent / "python"
    if platform == "macos":
        assert plistlib.loads(told.encode())["ProgramArguments"][0] == str(python)
    else:
        assert f'ExecStart="{python}" -P -m specd run' in told
    subprocess.run([python, "-P", "-m", "specd", "--version"], check=True, timeout=60)
