"""The faults of the campaign: a few, and where slow ones are run, each of them."""

from pathlib import Path

import pytest

from tests.faults import campaign
from tests.faults.bench import FAULTS, Bench

pytestmark = [
    pytest.mark.processes,
    pytest.mark.usefixtures("ctrl_c"),
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc"),
]


def test_a_run_survives_the_commonest_faults(tmp_path):
    bench = Bench(tmp_path, seed=0, kills=3)
    _judge(bench, [each for each in FAULTS if each.short])


@pytest.mark.slow
@pytest.mark.parametrize("each", FAULTS, ids=lambda each: each.name)
def test_a_run_survives(tmp_path, each):
    _judge(Bench(tmp_path, seed=1, kills=30), [each])


def _judge(bench: Bench, faults) -> None:
    wrong = {each.name: campaign.judged(each, bench)[0].wrong for each in faults}
    assert not {name: phrases for name, phrases in wrong.items() if phrases}
