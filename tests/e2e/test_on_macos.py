"""The real daemon on macOS's file events, over the stand-ins for its kernel (tests/agent/macos.py)."""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import Figures
from tests.daemon import Sandbox, quickest, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="stands in for macOS")

STAND_IN = """
import sys
if "specd" in " ".join(sys.orig_argv) and "run" in sys.orig_argv:
    sys.path.insert(0, {root!r})
    from tests.agent import macos

    class Patch:
        def setattr(self, what, name, value, raising=True): setattr(what, name, value)
        def setitem(self, what, name, value): what[name] = value

    macos.install(Patch())
    from specd.agent import vnodes, watch
    watch.Watch.__init__.__defaults__ = (vnodes.Vnodes,)
"""


@pytest.fixture
def mac(sandbox: Sandbox) -> Sandbox:
    site = sandbox.root / "site"
    site.mkdir()
    root = str(Path(__file__).parents[2])
    (site / "sitecustomize.py").write_text(STAND_IN.format(root=root))
    sandbox.env["PYTHONPATH"] = str(site)
    for folder in ("models/publisher/model", "conversations", ".internal"):
        (sandbox.home / folder).mkdir(parents=True)
    return sandbox.running()


def test_drift_is_restored_within_a_second_in_place_and_by_rename(mac: Sandbox, figures: Figures):
    def restored(count: int) -> float:
        mac.forgive()
        began = time.monotonic()
        mac.save(counter=count, rename=bool(count % 2))
        until(mac.applied, f"drift {count} is restored")
        took = time.monotonic() - began
        assert mac.read()["counter"] == count
        return took

    took = [quickest(partial(restored, count), 1) for count in range(8)]
    figures(slowest_ms=max(took) * 1000)
    assert max(took) < 1
    assert "Traceback" not in mac.said()


def test_specd_toml_and_new_models_are_noticed(mac: Sandbox):
    mac.config.write_text("[speculation]\nvisualize = false\n")
    until(
        lambda: (mac.read() or {}).get("chat", {}).get("visualizeSpeculativeDecoding") is False,
        "a specd.toml written in place is read once it is whole",
    )
    model = mac.home / "models" / "publisher" / "another"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (model / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    until(lambda: "models changed" in mac.said(), "a new model is seen")


def test_the_home_may_be_deleted_and_made_again(mac: Sandbox):
    mac.home.rename(mac.root / "away")
    until(lambda: mac.condition("HomeFound")["status"] == "false", "it is gone")
    (mac.root / "away").rename(mac.home)
    until(lambda: mac.condition("HomeFound")["status"] == "true", "it is back")
    mac.save(rename=True)
    until(mac.applied, "and watched")
    assert mac.stop() == 0
