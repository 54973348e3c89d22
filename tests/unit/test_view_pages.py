import re
import time
from html import unescape

import pytest
from starlette.testclient import TestClient

from jobs.view.app import viewer
from tests.viewed_run import GOOD, POOR, TASKS, append, episode, viewed_run

HOSTILE = (
    "</pre><script>alert(1)</script><img src=x onerror=alert(1)>\"'{{ 7*7 }}\x1b[31m\u202egnp.\0"
)


@pytest.fixture
def browse(tmp_path):
    """The pages of a run, all of it read."""
    with TestClient(viewer([viewed_run(tmp_path / "run")]), "http://127.0.0.1") as client:
        wait(client)
        yield client


def wait(client, episodes=8):
    for _ in range(200):
        state = client.get("/state", params={"run": "run"}).json()
        if state == {"episodes": episodes, "behind": 0}:
            return
        time.sleep(0.05)
    raise AssertionError(state)


def page(client, path, **params):
    answer = client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.text


def test_the_runs_stand_side_by_side_with_the_reports_figures(tmp_path):
    runs = [viewed_run(tmp_path / name) for name in ("one", "two")]
    with TestClient(viewer(runs), "http://127.0.0.1") as client:
        html = page(client, "/")
    assert "one" in html and "two" in html and html.count("0.875") == 2
    assert "[0.775, 0.975]" in html
    assert html.index(">mpo<") < html.index(">sft<")


@pytest.mark.slow
def test_every_link_of_every_page_leads_somewhere(browse):
    seen, todo = set(), ["/"]
    while todo:
        address = todo.pop()
        if address in seen:
            continue
        seen.add(address)
        answer = browse.get(address)
        ended = address.startswith("/pair?") and answer.status_code == 404
        assert answer.status_code == 200 or ended, address
        todo += [unescape(link) for link in re.findall(r'href="(/[^"]*)"', answer.text)]
    kinds = {address.split("?")[0] for address in seen}
    assert kinds >= {"/", "/episodes", "/episode", "/task", "/plan", "/pairs", "/pair"}


def test_an_episode_shows_its_plan_and_where_its_steps_are_reached(browse):
    html = page(browse, "/episode", run="run", key=f"{0:020x}")
    assert "Go to the shelf." in html and "take thing 2 from shelf 1" in html
    assert html.count('class="at" href') == 2


def test_a_search_that_ran_out_of_time_goes_on_by_a_link(browse, monkeypatch):
    monkeypatch.setattr("jobs.view.records.SEARCH_SECONDS", 0)
    html = page(browse, "/episodes", run="run", text="take thing 2", sort="newest")
    asked = 1
    while link := re.search(r'rel="next" href="([^"]+)"', html):
        assert "of 8 episodes" in html
        html, asked = browse.get(unescape(link[1])).text, asked + 1
    assert asked == 8 and "after the first 7" in html
    assert browse.get("/episodes?run=run&text=x&searched=-1").status_code == 404


def test_callers_tasks_are_told_apart_by_their_texts(tmp_path):
    tasks = [task.model_copy(update={"type": task.env}) for task in TASKS]
    with TestClient(
        viewer([viewed_run(tmp_path / "run", tasks=tasks)]), "http://127.0.0.1"
    ) as client:
        wait(client)
        for address in ("/episodes", "/pairs"):
            assert TASKS[1].description in page(client, address, run="run")


def test_a_runs_report_is_a_link_away_and_runs_no_script(tmp_path):
    run = viewed_run(tmp_path / "run")
    with TestClient(viewer([run]), "http://127.0.0.1") as client:
        assert 'href="/report' not in page(client, "/episodes", run="run")
        assert client.get("/report?run=run").status_code == 404
        (run / "report" / "index.html").write_text("<style></style><p>It won.</p>")
        assert 'href="/report?run=run"' in page(client, "/episodes", run="run")
        answer = client.get("/report?run=run")
    assert "It won." in answer.text
    [policy] = answer.headers.get_list("content-security-policy")
    assert "default-src 'none'" in policy and "script-src" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_pairs_name_their_tasks(browse):
    html = page(browse, "/pairs", run="run")
    assert all(task.id in html for task in TASKS)


def test_two_episodes_of_one_task_stand_side_by_side(browse):
    html = page(browse, "/compare", run="run", a=f"{0:020x}", b=f"{4:020x}")
    assert html.count("run, mpo, 0000") == html.count("run, sft, 0000") == 2
    assert html.count("polyline") == 2 and "Wait." in html and "of two tasks" not in html
    assert "of two tasks" in page(browse, "/compare", run="run", a=f"{0:020x}", b=f"{1:020x}")


def test_two_runs_episodes_are_compared(tmp_path):
    runs = [viewed_run(tmp_path / name) for name in ("one", "run")]
    with TestClient(viewer(runs), "http://127.0.0.1") as client:
        wait(client)
        key = f"{0:020x}"
        html = page(client, "/compare", run_a="one", a=key, run_b="run", b=key)
    assert "one ·" in html and "run ·" in html


def test_a_pair_shows_both_plans_with_all_their_scores(browse):
    html = page(browse, "/pair", run="run", file="pairs", number=1)
    assert GOOD in unescape(html) and POOR in html and html.count("2 episodes:") == 2


@pytest.mark.slow
def test_what_a_run_gets_while_it_is_looked_at_is_shown(browse, tmp_path):
    append(tmp_path / "run", [episode(number) for number in range(8, 12)])
    wait(browse, 12)
    assert "<b>12</b> episodes" in page(browse, "/episodes", run="run")


@pytest.mark.parametrize(
    "address",
    [
        "/episodes",
        "/episodes?run=../run",
        "/episode?run=run&key=../../config.yaml",
        "/episode?run=run&key=%00",
        "/pair?run=run&file=../pairs/pairs&number=1",
        "/pair?run=run&file=pairs&number=-1",
        "/pair?run=run&file=pairs&number=\u0663",
        "/pair?run=run&file=pairs&number=99999999999999999999",
        "/task?run=run&id=../../etc/passwd",
        "/plan?run=run&id=*",
        "/static/app.py",
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e/app.py",
        "/etc/passwd",
        "//etc/passwd",
        "/compare?run=run&a=x&b=y",
    ],
)
def test_an_address_that_is_none_is_not_found(browse, address):
    assert browse.get(address).status_code == 404


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_nothing_but_get_is_answered(browse, method):
    for address in ("/", "/state?run=run", "/nowhere"):
        assert browse.request(method, address).status_code == 405


def test_another_hosts_name_is_refused(browse):
    assert browse.get("/", headers={"host": "evil.example"}).status_code == 400


@pytest.mark.slow
def test_hostile_text_is_shown_and_does_nothing(tmp_path):
    task = TASKS[0].model_copy(
        update={"id": f"house/{HOSTILE}/0", "type": HOSTILE, "description": HOSTILE}
    )
    run = viewed_run(tmp_path / "run", tasks=[task])
    hostile = episode(9, HOSTILE, observation=HOSTILE + "y" * 1_000_000).model_copy(
        update={"task_id": task.id, "model": HOSTILE}
    )
    append(run, [hostile])
    with TestClient(viewer([run]), "http://127.0.0.1") as client:
        wait(client, 9)
        for address, asked in (
            ("/episodes", {}),
            ("/episodes", {"text": HOSTILE, "model": HOSTILE}),
            ("/episode", {"key": hostile.key}),
            ("/compare", {"a": hostile.key, "b": f"{0:020x}"}),
            ("/task", {"id": task.id}),
            ("/plan", {"id": hostile.plan_id}),
            ("/pairs", {}),
            ("/pair", {"file": "pairs", "number": "1"}),
        ):
            answer = client.get(address, params={"run": "run", **asked})
            assert answer.status_code == 200
            assert "<script>alert" not in answer.text and "<img" not in answer.text
            assert not any(c in answer.text for c in "\x1b\u202e\0") and "49" not in answer.text
            assert len(answer.text) < 200_000
            assert "script-src 'self'" in answer.headers["content-security-policy"]


def test_a_number_in_a_filter_that_is_none_is_one_line(browse):
    answer = browse.get("/episodes", params={"run": "run", "min_reward": "high"})
    assert answer.status_code == 400 and "filter" in answer.text


def test_pages_load_nothing_from_elsewhere(browse):
    for path in ("/", "/episodes?run=run", f"/episode?run=run&key={0:020x}"):
        assert not re.search(r'(src|href)="(https?:)?//', browse.get(path).text)


@pytest.mark.parametrize("damage", ["{", "5", '{"arms": []}', '{"arms": {"mpo": {}}}'])
def test_a_damaged_report_hides_no_other_run(tmp_path, damage):
    runs = [viewed_run(tmp_path / name) for name in ("one", "two")]
    (runs[0] / "report" / "summary.json").write_text(damage)
    with TestClient(viewer(runs), "http://127.0.0.1") as client:
        assert "0.875" in page(client, "/")


def test_an_episode_whose_file_is_gone_is_not_found(browse, tmp_path):
    (tmp_path / "run" / "episodes" / "evaluation.jsonl").write_bytes(b"")
    assert browse.get("/episode", params={"run": "run", "key": f"{0:020x}"}).status_code == 404


@pytest.mark.parametrize("path", ["/episodes", "/pairs"])
def test_a_page_that_there_is_not_is_told_and_the_first_one_may_be_empty(browse, path):
    answer = browse.get(path, params={"run": "run", "page": 999})
    assert answer.status_code == 404 and "there is no page 999" in answer.text
    assert page(browse, "/episodes", run="run", text="nowhere to be found")
