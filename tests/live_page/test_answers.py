"""Large answers are made once for each update, and one caller gets so many of them."""

import gzip

from janus_vit.live_page.answers import Answers


class Page:
    """Counts its updates, and how often it made an answer."""

    def __init__(self):
        self.update = self.made = 0

    def make(self):
        self.made += 1
        return b"answer %d" % self.update


def test_an_answer_is_made_and_compressed_once_for_each_update():
    page = Page()
    answers = Answers(lambda: page.update)
    zipped = [answers.get("/history", page.make, zipped=True) for _ in range(3)]
    assert gzip.decompress(zipped[0]) == answers.get("/history", page.make, zipped=False) == b"answer 0"
    assert zipped[0] is zipped[2]
    assert page.made == 1
    page.update += 1
    assert answers.get("/history", page.make, zipped=False) == b"answer 1"


def test_a_caller_that_asks_too_much_waits_for_the_next_update_and_others_do_not():
    page = Page()
    answers = Answers(lambda: page.update)
    assert [answers.grant("robot") for _ in range(9)] == [True] * 8 + [False]
    assert answers.grant("operator")
    page.update += 1
    assert answers.grant("robot")
