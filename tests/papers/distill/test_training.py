import dataclasses

import pytest
import torch

from uncertain_affect import losses
from uncertain_affect.papers import distill
from uncertain_affect.papers.distill import networks, training

from .small import SMALL, TASKS, corpus, faces, trunks


def same(one, other):
    """Whether the networks of two generations have the same weights."""
    p, q = ([p for group in g.groups for p in group.heads.parameters()] for g in (one, other))
    return all(map(torch.equal, p, q))


def test_members_train_side_by_side_as_they_do_alone(data, arms, empty_cache):
    alone = distill.train(data, trunks(data), dataclasses.replace(SMALL, side_by_side=1), balanced=(False, True))
    for one_by_one, together in zip(alone, arms, strict=True):
        torch.testing.assert_close(one_by_one.performance, together.performance, atol=1e-4, rtol=1e-3)
        assert one_by_one.best_epoch.tolist() == together.best_epoch.tolist()
        assert len(one_by_one.groups) == 4
        (group,) = together.groups
        for name, p in group.heads.named_parameters():
            q = torch.cat([g.heads.get_parameter(name) for g in one_by_one.groups])
            torch.testing.assert_close(p[group.balanced == together.balanced], q, atol=1e-4, rtol=1e-3)


def test_weights_follow_algorithm_1_as_printed_or_as_released_and_arms_part_when_one_moves(arms, teachers, released):
    without, with_ = arms
    torch.testing.assert_close(without.performance[:, 0], with_.performance[:, 0])
    assert (without.weights == 0.25).all()  # three tasks, and landmarks, which are off and counted
    for generation in (teachers, released):
        for performance, trace in zip(generation.performance, generation.weights, strict=True):
            expected = losses.balancing_trace(performance, n_auxiliary=1, released=generation is released)
            torch.testing.assert_close(trace, expected)


def test_every_member_is_left_at_its_best_epoch(data, teachers):
    total, metrics = teachers.performance.sum(2), distill.Metrics(data.outputs)
    assert teachers.best_epoch.tolist() == (total.argmax(1) + 1).tolist()
    sums = metrics.sums(distill.predict(teachers, data.rows("tune")), data, "tune")
    again = metrics.performance(sums.sum(2)).flatten(0, 1).sum(1)
    torch.testing.assert_close(again, total.max(1).values, atol=1e-5, rtol=1e-5)


def test_networks_come_from_the_cache(data, arms, monkeypatch):
    monkeypatch.setattr(training, "_fit", lambda *a: pytest.fail("trained again"))
    again = distill.train(data, trunks(data), SMALL, balanced=(False, True))
    assert torch.equal(again[1].performance, arms[1].performance) and same(again[1], arms[1])


def test_students_see_soft_labels_alone(data, teachers, empty_cache):
    (students,) = distill.train(data, trunks(data), SMALL, teachers=teachers)
    labels = {task: y.clone() for task, y in data.labels.items()}
    for task, y in labels.items():  # other labels on the frames that train
        y[data.train[task]] = y[data.train[task]].flip(0)
    (others,) = distill.train(dataclasses.replace(data, labels=labels), trunks(data), SMALL, teachers=teachers)
    assert same(students, others)
    (second,) = distill.train(data, trunks(data), SMALL, teachers=students)
    assert [g.number for g in (teachers, students, second)] == [0, 1, 2] and not same(second, students)


def test_students_come_near_the_teachers_of_their_seed(data, teachers, empty_cache):
    longer = dataclasses.replace(SMALL, epochs=20, decay=20, dropout=0.0)
    rows, distances = data.union.flatten(), []
    for settings, taught in ((longer, teachers), (dataclasses.replace(longer, seeds=(8, 9)), None)):
        (generation,) = distill.train(data, trunks(data), settings, teachers=taught)
        p = distill.predict(generation, rows)["EXPR"].mean(1)
        distances.append((p - distill.networks.soft_labels(teachers)["EXPR"][:, rows]).abs().mean())
    assert distances[0] < 0.5 * distances[1]  # a stranger's


def test_members_may_train_trunks_of_their_own(data, start):
    own = dataclasses.replace(SMALL, end_to_end=True, audio=True, seeds=(0,), shared=None, epochs=1, clips=3)
    made, rows = distill.trunks.OwnTrunks(corpus(), start), data.rows("test")
    teachers, plain = distill.train(data, made, own, balanced=(True, False))
    assert len(teachers.groups) == len(plain.groups) == 2 and teachers.weights.shape == (2, 2, 5)
    assert list(teachers.groups[0].heads.outputs) == ["AU", "EXPR", "VA", "FA", "VAD"]
    p = distill.predict(teachers, rows)["AU"]
    assert p.shape == (1, 2, len(rows), 12) and not torch.allclose(p[0, 0], p[0, 1])
    (students,) = distill.train(data, made, own, teachers=teachers)
    assert distill.mc_dropout(students, rows)[0]["VA"].shape == (1, 2, len(rows), 2, 20)
    with pytest.raises(ValueError, match="pictures have no sound"):
        distill.on_pictures(students, corpus().frames[:2])


@pytest.mark.parametrize("truth", [True, False])
def test_auxiliary_tasks_are_off_where_their_labels_are_unknown(data, truth):
    own, made = dataclasses.replace(SMALL, end_to_end=True), distill.trunks.OwnTrunks(corpus(truth), None)
    rows = torch.stack([clips[None, :2] for clips in data.clips.values()], 1)
    logits, auxiliary = networks.EndToEndGroup([(True, 0, 0)], 0, data, made, own, "cpu")(rows)
    assert list(logits) == ([*TASKS, "FA"] if truth else [*TASKS]) and logits["AU"].shape == (1, 2, 4, 12)
    assert [loss.shape for loss in auxiliary] == ([(1,)] if truth else [])


def test_training_takes_one_thread_whatever_there_are(data, empty_cache, monkeypatch):
    threads, before = [], torch.get_num_threads()

    def counted(*_):
        threads.append(torch.get_num_threads())
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "_fit", counted)
    try:
        torch.set_num_threads(2)
        with pytest.raises(KeyboardInterrupt):
            distill.train(data, trunks(data), SMALL)
        assert threads == [1] and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("end_to_end", [False, True])
def test_single_images_are_learnt_from_hand_made_features_or_from_scratch(empty_cache, end_to_end):
    own = dataclasses.replace(SMALL, clip=1, clips=8, side_by_side=3, epochs=4, end_to_end=end_to_end)
    images = distill.videos.images_as_videos(faces())
    split = distill.split_videos(images, own)
    encoders, rows = distill.encoders(images, split, own, simulated=False), split.rows("test")
    assert isinstance(encoders, distill.trunks.OwnTrunks if end_to_end else distill.trunks.Trunks)
    (teachers,) = distill.train(split, encoders, own)
    assert (teachers.weights == 1).all()  # nothing to balance
    (students,) = distill.train(split, encoders, own, teachers=teachers)
    for generation in (teachers, students):
        p = distill.predict(generation, rows)["EXPR"]
        assert p.shape == (2, 2, len(rows), 8)
        torch.testing.assert_close(p.sum(-1), torch.ones(p.shape[:-1]))
        assert not torch.allclose(p[0, 0], p[0, 1])  # members of their own
        if generation is teachers and not end_to_end:
            assert (p.argmax(-1) == split.labels["EXPR"][rows]).float().mean() > 0.8
    assert distill.on_pictures(students, images.frames[:4])["EXPR"].shape == (2, 2, 4, 8)
