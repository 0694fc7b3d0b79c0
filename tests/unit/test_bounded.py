"""A dict that forgets its oldest entry."""

from sanic_qserver.bounded import BoundedDict


def test_it_holds_so_many_and_forgets_the_oldest():
    held = BoundedDict(3)
    for number in range(5):
        held[number] = str(number)
    assert dict(held) == {2: "2", 3: "3", 4: "4"}
    assert (held.get(0), held.get(4)) == (None, "4")


def test_what_is_set_again_takes_no_place_of_another():
    held = BoundedDict(2)
    for number in (1, 2, 1, 1):
        held[number] = number
    assert list(held) == [1, 2]
    held[3] = 3
    assert list(held) == [2, 3]
