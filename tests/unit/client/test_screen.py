from sanic_qserver.client.screen import Screen


def event(topic, kind, **data):
    return {"topic": topic, "type": kind, "data": data, "id": "e-1", "time": 1.0}


def item(uid):
    return {"item_uid": uid, "name": "count", "args": [["det1"]], "kwargs": {}, "user": "bob"}


def test_the_queue_is_followed_as_docs_live_says():
    screen = Screen("https://host")
    screen.take(event("queue", "snapshot", items=[item("a"), item("b")], running_item={}))
    screen.take(event("queue", "item_added", item=item("c"), item_uid="c", after_uid=None, pos=0))
    screen.take(event("queue", "item_moved", item_uid="a", after_uid="b", pos=2))
    assert screen.order == ["c", "b", "a"]
    screen.take(event("queue", "item_started", item=item("c"), item_uid="c"))
    assert (screen.order, screen.running["item_uid"]) == (["b", "a"], "c")
    screen.take(event("queue", "item_finished", item_uid="c", name="count", exit_status="completed", run_uids=[]))
    screen.take(event("queue", "item_removed", item_uid="b"))
    assert (screen.order, screen.running) == (["a"], {})


def test_the_screen_fits_and_its_text_cannot_steer_the_terminal():
    screen = Screen("https://host")
    screen.take(event("status", "snapshot", manager_state="idle", items_in_history=3))
    screen.take(event("console", "output", text="\x1b[2J" + "x" * 300 + "\nhalf a line"))
    screen.take(event("queue", "snapshot", items=[item(str(number)) for number in range(100)], running_item={}))
    for width, height in ((80, 24), (40, 10), (200, 60)):
        lines = screen.draw(width, height, "q quit")
        assert len(lines) == height
        assert max(map(len, lines)) <= width
        assert lines[-1] == "q quit"
        assert not any("\x1b" in line for line in lines)
    screen.take(event("status", "unavailable"))
    assert "DOES NOT ANSWER" in screen.draw(80, 24, "")[0]
