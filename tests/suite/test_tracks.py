from bench.suite import suites, tracks


def test_composite_tracks_take_suites_of_several():
    every = {name: {suite.name for suite in members} for name, members in tracks().items()}
    assert every["imagenet-natural"] >= {"imagenet-v2", "imagenet-r", "imagenet-a", "imagenet-sketch", "objectnet"}
    assert every["imagenet-synthetic"] == {"imagenet-c", "imagenet-d", "cue-conflict"}
    assert every["imagenet-all"] >= every["imagenet-natural"] | every["imagenet-synthetic"] | {"imagenet", "imagenet-x"}


def test_a_suite_stands_in_its_own_track_and_once_in_each():
    for name, members in tracks().items():
        names = [suite.name for suite in members]
        assert len(set(names)) == len(names), name
    for suite in suites:
        assert suite in tracks()[suite.track]
