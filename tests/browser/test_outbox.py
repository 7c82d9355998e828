"""No answer is lost or counted twice, whatever becomes of the connection, the page or the server."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefrl.runs import RunFolder
from prefrl.store import Store
from tests.browser.labelling import Site, eventually, press, shown

Visit = Callable[..., Any]


def test_what_is_answered_offline_arrives_when_the_connection_is_back(site: Site, visit: Visit) -> None:
    site.ask_clips(8)
    site.start()
    page = visit()
    shown(page)
    page.context.set_offline(True)
    expected = [(press(page, "ArrowLeft"), 1, "") for _ in range(3)]
    page.get_by_text("The server does not answer: your answers are kept here.").wait_for()
    page.get_by_text("3 answers waiting to be sent").wait_for()
    page.keyboard.press("u")
    last, *_ = expected[-1]
    assert shown(page) == last  # at once: it is still in memory
    assert site.rows() == []
    page.context.set_offline(False)
    eventually(page, lambda: site.rows() == [*expected, (last, None, "undone")])
    page.get_by_role("status").filter(has_text="waiting to be sent").wait_for(state="hidden")
    assert press(page, "ArrowRight") == last
    eventually(page, lambda: site.rows()[4:] == [(last, 0, "")])


def test_what_is_answered_offline_outlives_the_page(site: Site, visit: Visit) -> None:
    site.ask_clips(8)
    site.start()
    page = visit()
    shown(page)
    page.context.set_offline(True)
    expected = [
        (press(page, "ArrowLeft"), 1, ""),
        (press(page, "ArrowUp"), 0.5, ""),
        (press(page, "ArrowDown"), None, ""),
    ]
    page.close()
    page.context.set_offline(False)
    again = page.context.new_page()
    again.goto(site.url)
    eventually(again, lambda: site.rows() == expected)
    assert shown(again) not in {query for query, *_ in expected}


def test_the_pairs_of_answers_that_wait_are_not_asked_again_after_a_reload(site: Site, visit: Visit) -> None:
    asked = site.ask_clips(8)
    site.start()
    page = visit()
    page.route("**/api/answer", lambda route: route.abort())
    answered = [press(page, "ArrowLeft") for _ in range(2)]
    page.reload()
    assert shown(page) in set(asked) - set(answered)
    page.unroute("**/api/answer")
    eventually(page, lambda: site.rows() == [(query, 1, "") for query in answered])


def test_an_answer_whose_receipt_was_lost_counts_once(site: Site, visit: Visit) -> None:
    site.ask_clips(8)
    site.start()
    page = visit()
    sent = []

    def lose(route: Any) -> None:
        sent.append(route.request.post_data_json["id"])
        if len(sent) > 2:
            return route.continue_()
        route.fetch()
        route.abort()

    page.route("**/api/answer", lose)
    query = press(page, "ArrowLeft")
    eventually(page, lambda: len(sent) == 3)
    page.get_by_role("status").filter(has_text="does not answer").wait_for(state="hidden")
    assert len(set(sent)) == 1
    assert site.rows() == [(query, 1, "")]


def test_a_killed_server_loses_and_doubles_nothing(site: Site, visit: Visit) -> None:
    site.ask_clips(24)
    site.start()
    page = visit()
    answered = [press(page, "ArrowLeft") for _ in range(3)]
    site.kill()
    answered += [press(page, "ArrowLeft") for _ in range(2)]
    page.get_by_text("The server does not answer").wait_for()
    site.start()
    answered += [press(page, "ArrowLeft") for _ in range(6)]
    site.kill()  # with answers on their way
    site.start()
    answered += [press(page, "ArrowLeft") for _ in range(3)]
    eventually(page, lambda: len(site.rows()) >= len(answered), seconds=30)
    assert [query for query, *_ in site.rows()] == answered
    assert set(Counter(answered).values()) == {1}


def test_a_full_disk_is_said_and_outlasted(site: Site, visit: Visit) -> None:
    site.ask_clips(8)
    site.start()
    page = visit()
    full = {"detail": "disk is full: make room"}
    page.route("**/api/answer", lambda route: route.fulfill(status=507, json=full))
    query = press(page, "ArrowLeft")
    page.get_by_text("The server cannot take answers just now (disk is full: make room). 1 answer waiting").wait_for()
    page.unroute("**/api/answer")
    eventually(page, lambda: site.rows() == [(query, 1, "")])


def test_what_the_server_refuses_is_said_and_does_not_hold_up_the_others(site: Site, visit: Visit) -> None:
    site.ask_clips(8)
    site.start()
    page = visit()
    page.route("**/api/answer", lambda route: route.fulfill(status=422, json={"detail": "query: no"}), times=1)
    press(page, "ArrowLeft")
    query = press(page, "ArrowLeft")
    page.get_by_text("An answer was refused and does not count: query: no").wait_for()
    eventually(page, lambda: site.rows() == [(query, 1, "")])
    page.get_by_role("button", name="Dismiss").click()
    page.get_by_text("was refused").wait_for(state="detached")


def test_an_error_page_of_a_proxy_is_no_refusal(site: Site, visit: Visit) -> None:
    site.ask_clips(8)
    site.start()
    page = visit()
    page.route("**/api/answer", lambda route: route.fulfill(status=404, body="<h1>Not found</h1>"), times=1)
    query = press(page, "ArrowLeft")
    eventually(page, lambda: site.rows() == [(query, 1, "")])


def test_who_is_not_allowed_is_told_so(site: Site, visit: Visit) -> None:
    site.ask_clips(2)
    site.start()
    page = visit(labeller=None)
    page.context.route("**/api/*", lambda route: route.fulfill(status=401, json={"detail": "ask for a link"}))
    page.reload()
    page.get_by_text("You may not label here: ask for a link.").wait_for()


def test_a_random_id_needs_no_secure_context(site: Site, visit: Visit) -> None:
    site.ask_clips(2)
    site.start()
    page = visit(init="delete Crypto.prototype.randomUUID;")
    press(page, "ArrowLeft")
    eventually(page, lambda: len(site.rows()) == 1)
    version = site.labels()[0].key[14]
    assert version == "4"


def test_answers_of_another_labeller_hold_up_nobody(site: Site, visit: Visit) -> None:
    site.ask_clips(12)
    site.start()
    page = visit("anna")
    page.context.route("**/api/answer", only("berta"))  # as if an invitation fixed the name
    anna = press(page, "ArrowLeft")
    page.get_by_text("You may not label here").wait_for()
    page.goto(f"{site.url}/?labeller=berta")
    berta = press(page, "ArrowLeft")
    eventually(page, lambda: site.rows() == [(berta, 1, "")])
    page.context.unroute("**/api/answer")
    page.goto(f"{site.url}/?labeller=anna")
    eventually(page, lambda: site.rows() == [(berta, 1, ""), (anna, 1, "")])


def only(labeller: str) -> Callable[[Any], None]:
    def check(route: Any) -> None:
        if route.request.post_data_json["labeller"] == labeller:
            return route.continue_()
        return route.fulfill(status=403, json={"detail": "your invitation is for another name"})

    return check


def test_answers_wait_for_their_own_run_when_another_is_served_at_its_address(
    site: Site, visit: Visit, tmp_path: Path
) -> None:
    asked = site.ask_clips(8)
    other = Site(
        RunFolder.create(tmp_path / "other", RunFolder(site.run).config).path,
        Store(tmp_path / "other"),
        site.port,
        site.media,
    )
    assert other.ask_clips(8) == asked  # every run numbers its queries from 1
    site.start()
    page = visit()
    press(page, "ArrowLeft")
    eventually(page, lambda: len(site.rows()) == 1)
    site.kill()
    waits = press(page, "ArrowLeft")
    other.start()
    page.get_by_text("Another run is labelled at this address now").wait_for()
    page.reload()
    query = press(page, "ArrowRight")
    eventually(page, lambda: other.rows() == [(query, 0, "")])
    other.kill()
    site.start()
    page.reload()
    eventually(page, lambda: site.rows()[1:] == [(waits, 1, "")])
    assert other.rows() == [(query, 0, "")]
    other.store.close()
