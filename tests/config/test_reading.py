"""Reading specd.toml: what is accepted, what is refused, and with which words."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specd import config
from specd.config import allowed

SEED = "josiefied-qwen3-8b-abliterated-v1"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPECD_MANAGED_CONFIG", str(tmp_path / "managed.toml"))
    return tmp_path / "specd.toml"


def problems(file: Path, text: str) -> list[str]:
    file.write_text(text)
    with pytest.raises(config.ConfigError) as refused:
        config.read(file)
    assert refused.value.path == file
    return [line.removeprefix(f"{file}:") for line in refused.value.lines()]


def test_no_file_means_every_default(file: Path) -> None:
    assert config.read(file).config == config.SpecdConfig()
    assert not config.read(file).exists


def test_a_file_on_a_disk_that_is_away_is_not_taken_for_none(file: Path) -> None:
    file.symlink_to(file.parent / "disk" / "specd.toml")
    with pytest.raises(config.ConfigError, match=r"is a link to .*disk/specd"):
        config.read(file)


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "\ufeff[agent]\n", "[agent]\r\n"])
def test_every_key_is_optional(file: Path, text: str) -> None:
    file.write_text(text)
    assert config.read(file).config == config.SpecdConfig()


def test_the_whole_example_of_the_documentation(file: Path) -> None:
    file.write_text(
        f"""
        [lmstudio]
        home = "~/.lmstudio"
        server = "http://localhost:1234"
        token_env = "LM_API_TOKEN"
        [speculation]
        enabled = true
        visualize = false
        ui_level = 2
        settings_key = "speculation.enabled"
        [[pair]]
        main = "{SEED}"
        draft = "auto"
        draft_tokens = 5
        [benchmark]
        schedule = "0 3 * * sun"
        engine = "server"
        min_speedup = 1.1
        on_slower = "disable"
        [agent]
        resync_seconds = 60
        log_level = "debug"
        notify = true
        """
    )
    read = config.read(file).config
    assert read.pair == (config.Pair(main=SEED, draft_tokens=5),)
    assert read.speculation.ui_level == 2
    assert read.benchmark.on_slower == "disable"
    assert read.agent == config.Agent(resync_seconds=60, log_level="debug", notify=True)


def test_an_unknown_key_names_its_line_and_the_nearest_one(file: Path) -> None:
    [line] = problems(file, "# mine\n[speculation]\nenabled = true\nvisualise = true\n")
    assert line.startswith("4: speculation.visualise: is not known; did you mean visualize?")


def test_all_problems_are_told_at_once_in_the_order_of_the_file(file: Path) -> None:
    lines = problems(
        file,
        '[[pair]]\nmain = "a"\ndraft_tokens = 0\n\n[[pair]]\ndraft = "b"\n\n'
        '[benchmark]\nengine = "mlz"\nmax_minutes = 1.5\n',
    )
    assert lines == [
        '3: pair[1].draft_tokens: must be "auto" or a whole number from 1 to 64, not 0',
        "5: pair[2].main: is missing: the main model, as LM Studio lists it",
        '9: benchmark.engine: must be "auto", "mlx" or "server", not "mlz"; did you mean mlx?',
        "10: benchmark.max_minutes: must be a whole number from 1 to 240, not 1.5",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("notify = true", "1: notify: belongs under [agent]"),
        ("[benchmark]\nvisualize = true", "2: benchmark.visualize: belongs under [speculation]"),
        ("agent = 3", "1: agent: must be a table: write [agent] on a line of its own"),
        ('[pair]\nmain = "x"', "1: pair: must be written as [[pair]], with two brackets"),
        ("pair = [1]", "1: pair[1]: must be written as [[pair]]"),
        ("[agents]", "1: agents: is not known; did you mean agent?"),
        ('[agent]\nnotify = "true"', '2: agent.notify: must be true or false, not "true"; remove'),
        ('[agent]\nresync_seconds = "9"', "2: agent.resync_seconds: must be a whole number from 1"),
        ("[agent]\nresync_seconds = true", "2: agent.resync_seconds: must be a whole number"),
        ("[benchmark]\nmin_speedup = nan", "2: benchmark.min_speedup: must be a number from 1 to"),
        ("[benchmark]\nmin_speedup = inf", "2: benchmark.min_speedup: must be a number from 1 to"),
        ('[lmstudio]\nhome = "models"', '2: lmstudio.home: must be "auto" or a full path'),
        ('[lmstudio]\nserver = "localhost"', '2: lmstudio.server: must be "auto" or a URL'),
        ('[lmstudio]\nserver = "http://[::1"', '2: lmstudio.server: must be "auto" or a URL'),
        ('[speculation]\nsettings_key = "a..b"', "2: speculation.settings_key: must be names"),
        (
            '[speculation]\nsettings_key = "developerMode"',
            "2: speculation.settings_key: must not be developerMode: ui_level under [speculation]",
        ),
        ('[benchmark]\nschedule = "daily"', "2: benchmark.schedule: must have five fields"),
        ('[benchmark]\nschedule = "0 24 * * *"', "2: benchmark.schedule: its hour must be 0-23"),
        ("[agent\n", "1: is not TOML: expected ']'"),
        ("[agent]\n[agent]\n", "2: is not TOML: cannot declare agent twice"),
        ('[agent]\nnotify = "', "2: is not TOML: unterminated string"),
        (
            "[agent]\nnotify = true\nnotify = true\n",
            "3: is not TOML: cannot overwrite a value (column 14); the key is set twice",
        ),
        ('[[pair]]\ndraft = "0.5b\n', "(column 14); a quote is missing at its end"),
        ("[[pair]]\ndraft = auto\n", '(column 9); put text in quotes: "…"'),
        ("[[pair]]\nmain = 8b\n", '(column 9); put text in quotes: "…"'),
        ("[benchmark]\nschedule = 30 4 * * *\n", '(column 15); put text in quotes: "…"'),
        ("[[pair]]\nmain = “8b”\n", '(column 8); write straight quotes: "…"'),
        ("[benchmark]\nonly_when_idle = True\n", "(column 18); write true"),
        ('[agent]\n"a\\nb\\u001b" = 1', '2: "agent.a\\nb\\u001b": is not known'),
    ],
)
def test_each_mistake_is_told_in_words_with_its_line(file: Path, text: str, said: str) -> None:
    [line] = problems(file, text)
    assert line.startswith(said) or (said.startswith("(column") and line.endswith(said))


def test_lines_count_over_values_of_several_lines(file: Path) -> None:
    [line] = problems(
        file, '[[pair]]\nmain = """a\n[agent]\nb"""\n[benchmark]\nschedule = 5\n[agent]\n'
    )
    assert line.startswith("6: benchmark.schedule")


def test_a_token_pasted_by_mistake_is_not_repeated(file: Path) -> None:
    [line] = problems(file, '[lmstudio]\ntoken_env = "sk-very-secret"\n')
    assert "very-secret" not in line
    assert "name of an environment variable" in line


def test_what_cannot_be_read_says_why(tmp_path: Path, file: Path) -> None:
    def said(path: Path) -> str:
        with pytest.raises(config.ConfigError) as refused:
            config.read(path)
        return str(refused.value)

    assert "Is a directory" in said(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "no regular file" in said(tmp_path / "pipe")
    file.write_bytes(b"[agent]\n# caf\xe9\n")
    assert f"{file}:2: this line is not UTF-8" in said(file)
    file.write_bytes(b"#" * (1 << 21))
    assert "holds more than 1 MiB" in said(file)
    assert "Not a directory" in said(file / "below")
    if sys.platform == "linux":
        assert "holds more than 1 MiB" in said(Path("/proc/self/pagemap"))
        assert "cannot be read" in said(Path("/proc/self/mem"))
    file.write_text("x = " + "[" * 50_000)
    assert "nested too deeply" in said(file)


@given(st.text(max_size=200))
def test_no_text_whatever_breaks_the_reader(text: str) -> None:
    path = Path("specd.toml")
    try:
        allowed.validated(path, config.reading.parse(path, text), text)
    except config.ConfigError as error:
        lines = error.lines()
    else:
        return
    assert lines
    assert all(line.isprintable() for line in lines)


class TestPolicy:
    @pytest.fixture
    def policy(self, file: Path) -> Path:
        return file.with_name("managed.toml")

    def test_the_users_values_lie_over_the_machines(self, file: Path, policy: Path) -> None:
        policy.write_text("[agent]\nresync_seconds = 60\nnotify = true\n")
        file.write_text("[agent]\nnotify = false\n")
        read = config.read(file)
        assert read.config.agent == config.Agent(resync_seconds=60, notify=False)
        assert read.origins["agent.resync_seconds"] == "managed"
        assert read.origins["agent.notify"] == "user"
        assert read.origins["agent.log_level"] == "default"
        assert read.managed == policy

    def test_locked_keys_are_the_machines_even_when_it_names_no_value(
        self, file: Path, policy: Path
    ) -> None:
        policy.write_text(
            '[benchmark]\nonly_on_ac = true\n[policy]\nlocked = ["benchmark.only_on_ac", "agent"]\n'
        )
        file.write_text(
            "[benchmark]\nonly_on_ac = false\nmax_minutes = 5\n[agent]\nnotify = true\n"
        )
        read = config.read(file)
        assert read.config.benchmark == config.Benchmark(only_on_ac=True, max_minutes=5)
        assert read.config.agent == config.Agent()
        assert read.overruled == ("benchmark.only_on_ac", "agent.notify")
        assert read.origins["agent.notify"] == "locked"

    def test_pairs_are_replaced_as_a_whole(self, file: Path, policy: Path) -> None:
        policy.write_text('[[pair]]\nmain = "theirs"\n')
        assert config.read(file).config.pair == (config.Pair(main="theirs"),)
        file.write_text('[[pair]]\nmain = "mine"\n')
        assert config.read(file).config.pair == (config.Pair(main="mine"),)
        policy.write_text('[[pair]]\nmain = "theirs"\n[policy]\nlocked = ["pair"]\n')
        assert config.read(file).config.pair == (config.Pair(main="theirs"),)

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ('[policy]\nlocked = ["agent.notfy"]', 'there is no "agent.notfy"; did you mean agent'),
            ("[policy]\nlocked = 3", "must be a list of names"),
            ("[policy]\nlock = []", "[policy] knows only locked, not lock"),
            ("[agent]\nnotfy = true", "did you mean notify?"),
        ],
    )
    def test_a_broken_policy_names_its_own_file(
        self, file: Path, policy: Path, text: str, said: str
    ) -> None:
        policy.write_text(text)
        with pytest.raises(config.ConfigError) as refused:
            config.read(file)
        assert refused.value.path == policy
        assert said in str(refused.value)

    def test_a_policy_table_in_the_users_own_file_is_refused(self, file: Path) -> None:
        [line] = problems(file, "[policy]\nlocked = []\n")
        assert line.startswith("1: policy: is not known")
