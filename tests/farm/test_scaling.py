"""The arithmetic of ``docs/scaling.md``."""

import pytest

from benchmarks.scaling import CLIENTS, PAGE, RESULTS, USERS, Costs, Figures, Need, fill, render


@pytest.fixture(scope="module")
def figures():
    return Figures(RESULTS.read_text())


def test_the_page_has_the_tables_that_the_results_give(figures):
    """Else: ``python -m benchmarks.scaling --write``."""
    page = PAGE.read_text()
    assert fill(page, render(figures)) == page


def test_a_figure_is_the_median_of_its_column():
    table = "|  |  | single Redis | cluster |\n| --- | --- | ---: | ---: |\n"
    rows = (
        "| idle | RSS, of a client, KiB | 7.70 (7.60 to 7.80) | 1,234 (1,200 to 1,300) |\n|  | PSS, KiB | - | 3.00 |\n"
    )
    figures = Figures(f"# Results\n\n<!-- cluster -->\n\n{table}{rows}\n<!-- end of cluster -->\n")
    assert figures.get("idle", "RSS, of a client", "single Redis") == 7.7
    assert figures.get("idle", "RSS, of a client", "cluster") == 1234
    assert figures.get("idle", "PSS", "cluster") == 3


def test_what_is_needed():
    costs = Costs(
        delivery=10,
        private=100,
        member=50,
        redis=100,
        redis_member=10,
        sent=200,
        traffic=1000,
        traffic_member=300,
        idle=5000,
        redis_idle=2000,
    )
    one = Need.compute(costs, size=1, messages=1000)
    assert (one.workers, one.deliveries) == (USERS / CLIENTS, 1000)
    assert one.members == pytest.approx(1)
    assert one.cores == pytest.approx(0.11 + 200 * 0.005)
    assert one.redis_cores == pytest.approx(0.1 + 200 * 0.002)
    many = Need.compute(costs, size=USERS, messages=30)
    assert many.cores == pytest.approx(30 * (USERS * 10 + 100 + 50 * (many.members - 1)) / 1e6 + many.workers * 0.005)
    assert many.workers * 0.5 >= many.cores > (many.workers - 1) * 0.5 - 1
    assert many.network == 30 * USERS * 200
