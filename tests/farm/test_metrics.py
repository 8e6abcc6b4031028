"""What /metrics shows is true, and the documentation has all of it."""

import json
import re

import pytest
import requests
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from tests.kit.paths import ROOT
from webfarm.haproxy import parse_ranges, render
from webfarm.monitoring.gauges import gauges
from webfarm.monitoring.histogram import Histogram
from webfarm.run.programs import find_haproxy
from webfarm.testing import SHARDS, get_free_ports, get_status, wait_until

TEXT = (ROOT / "docs/metrics.md").read_text()
ROWS = re.findall(r"^\| `(\w+)` \| (counter|gauge|histogram) \|([^|]*)\|", TEXT, re.MULTILINE)
DOCUMENTED = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in ROWS}


def is_haproxys(name):
    return name.startswith("haproxy_")


def get_families():
    """Return what a process of ours exposes: type and labels by name."""
    found = {}
    for family in REGISTRY.collect():
        labels = {name for sample in family.samples for name in sample.labels} | set(family._labelnames)
        found[family.name + ("_total" if family.type == "counter" else "")] = family.type, labels - {"le"}
    return found


def test_each_metric_is_documented_once_and_each_that_is_documented_is_there():
    assert len(ROWS) == len(DOCUMENTED)
    assert get_families() == {name: row for name, row in DOCUMENTED.items() if not is_haproxys(name)}


def test_each_reason_that_is_there_from_the_beginning_is_documented():
    for family in REGISTRY.collect():
        if family.name in ("webfarm_connections_closed", "webfarm_sessions_ended", "webfarm_events_refused"):
            assert family.samples
        for sample in family.samples:
            if reason := sample.labels.get("reason") or sample.labels.get("code"):
                row = next(line for line in TEXT.splitlines() if line.startswith(f"| `{sample.name}`"))
                assert f"`{reason}`" in row


def test_names_follow_prometheus_conventions():
    for name, (kind, _) in get_families().items():
        assert name.endswith("_total") == (kind == "counter")
        assert not re.search(r"_(ms|millis|us|kb|mb|minutes)(_|$)", name)
        assert kind != "histogram" or name.endswith("_seconds")


def list_metrics(expression):
    """Return the metrics that a query uses; of a histogram without what its series end in."""
    names = re.findall(r"\b(?:webfarm|haproxy|process|python)_\w+", expression)
    return {re.sub(r"(_seconds)_(bucket|sum|count)$", r"\1", name) for name in names} - {"webfarm_unchecked"}


def test_every_expression_of_the_documentation_uses_documented_metrics():
    used = list_metrics(TEXT) | list_metrics((ROOT / "README.md").read_text())
    assert used <= DOCUMENTED.keys()


def get_dashboard():
    return json.loads((ROOT / "grafana/webfarm.json").read_text())


def test_the_dashboard_can_be_imported():
    dashboard = get_dashboard()
    assert dashboard["id"] is None and dashboard["uid"] and dashboard["title"] and dashboard["schemaVersion"] >= 38
    kinds = {variable["name"]: variable["type"] for variable in dashboard["templating"]["list"]}
    assert kinds["datasource"] == "datasource"
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]
            assert [target["refId"] for target in panel["targets"]] == list("ABCDEF"[: len(panel["targets"])])
    variables = set(re.findall(r"\$\{?(\w+)", json.dumps(dashboard))) - {"__rate_interval"}
    assert variables == kinds.keys()


def test_no_two_panels_of_the_dashboard_lie_over_each_other():
    taken = set()
    for panel in get_dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells, panel["title"]
        taken |= cells


def test_the_dashboard_uses_documented_metrics_and_most_of_ours():
    dashboard = get_dashboard()
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    for query in queries:
        assert query.count("(") == query.count(")") and query.count("{") == query.count("}")
        assert list_metrics(query), query
    used = set().union(*map(list_metrics, queries))
    assert used <= DOCUMENTED.keys()
    assert {name for name in DOCUMENTED if name.startswith("webfarm_")} - used <= {"webfarm_connections_opened_total"}


def test_haproxys_metrics_are_those_of_its_exporter(start, tmp_path):
    port, metrics = get_free_ports(), get_free_ports()
    config = tmp_path / "haproxy.cfg"
    servers, binds = parse_ranges([f"127.0.0.1:{get_free_ports()}"]), (f"127.0.0.1:{port}", f"127.0.0.1:{metrics}")
    config.write_text(render(servers, bind=binds[0], heartbeat_s=45, metrics_bind=binds[1]))
    start(find_haproxy(), "-db", "-f", str(config))
    wait_until(lambda: get_status(f"http://{binds[1]}/metrics") == 200, "the exporter")
    text = requests.get(f"http://{binds[1]}/metrics", timeout=5).text
    found = {}
    for line in text.splitlines():
        if match := re.match(r"# TYPE (\w+) (\w+)", line):
            found[match[1]] = match[2], set()
        elif match := re.match(r"(\w+)\{(.*)\}", line):
            found[match[1]][1].update(re.findall(r'(\w+)="', match[2]))
    for name, row in DOCUMENTED.items():
        if is_haproxys(name):
            assert found[name] == row, name


def get_values(url):
    """Return the samples of /metrics: by name, or by name and its label's value."""
    families = text_string_to_metric_families(requests.get(f"{url}/metrics", timeout=5).text)
    samples = [sample for family in families for sample in family.samples]
    return {
        (sample.name, *sample.labels.values()) if sample.labels else sample.name: sample.value for sample in samples
    }


@pytest.fixture(scope="module")
def pair(redis_server):
    from webfarm.testing import starting_workers

    with starting_workers(redis_server.url) as start_workers:
        yield start_workers(2)


def test_a_message_is_counted_where_it_comes_in_and_where_it_goes_out(pair, node):
    """Two clients on one worker and one on the other are in a room; one of the two sends 5 messages."""
    for name, worker, transport in (("a", 0, "websocket"), ("b", 0, "polling"), ("c", 1, "websocket")):
        node.connect(name, pair.urls[worker], query={"userId": name}, transports=[transport])
    before = [get_values(url) for url in pair.urls]
    for number in range(5):
        assert node.call("a", "message", f"text {number}")["ok"]
    for name in "abc":
        node.wait_for(name, "message", 5)
    first, second = (
        {key: value - old.get(key, 0) for key, value in get_values(url).items()}
        for url, old in zip(pair.urls, before, strict=True)
    )
    names = ["events_received_total", "messages_stored_total", "event_handling_seconds_count", "store_seconds_count"]
    assert [first[f"webfarm_{name}"] for name in names] == [5, 5, 5, 5]
    assert [second[f"webfarm_{name}"] for name in names] == [0, 0, 0, 0]
    names = ["messages_followed_total", "events_emitted_total", "deliveries_total"]
    assert [first[f"webfarm_{name}"] for name in names] == [5, 5, 10]
    assert [second[f"webfarm_{name}"] for name in names] == [5, 5, 5]
    assert first["webfarm_received_bytes_total"] > 5 * len('421["message","text 0"]')
    assert first["webfarm_sent_bytes_total"] > second["webfarm_sent_bytes_total"] > 5 * len('42["message","text 0"]')
    values = get_values(pair.urls[0])
    assert values["webfarm_connections", "websocket"] == values["webfarm_connections", "polling"] == 1
    assert values["webfarm_ready"] == values["webfarm_redis_up"] == 1 and values["webfarm_draining"] == 0
    lags = [values["webfarm_log_position_lag_seconds", str(shard)] for shard in range(SHARDS)]
    assert 0 <= min(lags) <= max(lags) < 2
    assert values["webfarm_loop_lag_seconds_count"] > 0


def test_refusals_are_counted_by_their_code(pair, node):
    url = pair.urls[1]
    before = get_values(url)
    node.connect("a", url)
    assert node.call("a", "join", "no room")["error"]["code"] == "bad_request"
    node.open("b", url, query={"userId": "x" * 200})
    node.wait_for("b", "connect_error")
    node.open("c", f"{url}/nowhere")
    node.wait_for("c", "connect_error")
    assert requests.get(
        f"{url}/socket.io/?EIO=4&transport=polling", headers={"Origin": "http://evil.example"}, timeout=5
    ).status_code == 400  # fmt: skip
    after = get_values(url)
    for key in (
        ("webfarm_events_refused_total", "bad_request"),
        ("webfarm_connections_refused_total", "bad_request"),
        ("webfarm_connections_refused_total", "invalid_namespace"),
        ("webfarm_connections_refused_total", "origin"),
    ):
        assert after[key] == before.get(key, 0) + 1, key


def test_the_snapshot_is_what_json_has_words_for():
    snapshot = json.loads(json.dumps(gauges.snapshot()))
    assert snapshot["clients"] == {"polling": 0, "websocket": 0}
    assert snapshot["store_p99_s"] is None


def test_a_histogram_counts_what_is_at_its_bound_below_it():
    histogram = Histogram((0.1, 1.0))
    for seconds in (0.05, 0.1, 0.2, 3.0):
        histogram.observe(seconds)
    samples = histogram.collect("seconds", "").samples
    assert [(sample.labels.get("le"), sample.value) for sample in samples[:3]] == [("0.1", 2), ("1.0", 3), ("+Inf", 4)]
    assert [sample.value for sample in samples[3:]] == [4, pytest.approx(3.35)]


def test_a_quantile_is_that_of_what_came_since():
    histogram = Histogram((0.1, 0.2, 1.0))
    for _ in range(100):
        histogram.observe(5.0)
    since = histogram.copy_buckets()
    assert histogram.get_quantile(0.5, since) is None
    for _ in range(10):
        histogram.observe(0.15)
    assert histogram.get_quantile(0.5, since) == pytest.approx(0.15)
    assert histogram.get_quantile(0.9, since) == pytest.approx(0.19)
    assert histogram.get_quantile(0.99, [0, 0, 0, 0]) == 1.0  # more is not known
