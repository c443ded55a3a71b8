"""Virtual time for many streams: events come in order, streams wait for each other, and a mailbox has a limit."""

from janus_vit.fleet.shared_cloud.world import Mailbox, World


def test_streams_take_turns_in_order_of_time():
    world, seen = World(), []

    def stream(name: str, step_s: float):
        def run():
            for turn in range(1, 4):
                world.wait_until(turn * step_s)
                seen.append((world.now_s, name))

        return run

    world.start(stream("slow", 2.0))
    world.start(stream("quick", 1.0))
    world.run()
    assert seen == [(1.0, "quick"), (2.0, "slow"), (2.0, "quick"), (3.0, "quick"), (4.0, "slow"), (6.0, "slow")]


def test_events_of_the_same_time_run_in_the_order_in_which_they_were_added():
    world, seen = World(), []
    for name in "abc":
        world.at(1.0, lambda name=name: seen.append(name))
    world.run()
    assert seen == ["a", "b", "c"]


def test_an_event_in_the_past_runs_now():
    world, seen = World(), []
    world.at(5.0, lambda: world.at(1.0, lambda: seen.append(world.now_s)))
    world.run()
    assert seen == [5.0]


def test_a_stream_can_start_another_one_and_outlive_it():
    world, seen = World(), []

    def inner():
        world.wait_until(2.0)
        seen.append(("inner", world.now_s))

    def outer():
        world.start(inner)
        world.wait_until(1.0)
        seen.append(("outer", world.now_s))
        world.wait_until(3.0)
        seen.append(("outer", world.now_s))

    world.start(outer)
    world.run()
    assert seen == [("outer", 1.0), ("inner", 2.0), ("outer", 3.0)]


def test_a_mailbox_delivers_when_the_value_comes():
    world, seen = World(), []
    mailbox = Mailbox[str](world)

    def reader():
        seen.append((mailbox.get(until_s=9.0), world.now_s))

    world.start(reader)
    world.at(4.0, lambda: mailbox.put("letter"))
    world.run()
    assert seen == [("letter", 4.0)]


def test_a_mailbox_gives_up_at_its_limit_and_ignores_what_comes_later():
    world, seen = World(), []
    mailbox = Mailbox[str](world)

    def reader():
        seen.append((mailbox.get(until_s=3.0), world.now_s))
        world.wait_until(5.0)
        seen.append(("still here", world.now_s))

    world.start(reader)
    world.at(4.0, lambda: mailbox.put("too late"))
    world.run()
    assert seen == [(None, 3.0), ("still here", 5.0)]


def test_a_value_that_is_there_already_is_returned_at_once():
    world, seen = World(), []
    mailbox = Mailbox[str](world)
    mailbox.put("early")
    world.start(lambda: seen.append((mailbox.get(until_s=3.0), world.now_s)))
    world.run()
    assert seen == [("early", 0.0)]
