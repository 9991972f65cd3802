import dataclasses

import torch

from uncertain_affect.papers import distill
from uncertain_affect.papers.distill import trunks

from .small import SMALL, corpus, faces, generator


def test_mirroring_twice_changes_nothing_and_swaps_the_eyes():
    points, rows, both = torch.rand(3, 68, 2, generator=generator()), torch.arange(3), torch.arange(3) < 2
    once = trunks.auxiliary_labels(points, rows, both).view_as(points)
    torch.testing.assert_close(trunks.auxiliary_labels(once, rows, both).view_as(points), points)
    assert torch.equal(once[2], points[2])
    torch.testing.assert_close(once[0, 36], torch.stack([1 - points[0, 45, 0], points[0, 45, 1]]))
    assert trunks.MIRRORED[36:42].tolist() == [45, 44, 43, 42, 47, 46]
    assert sorted(trunks.MIRRORED.tolist()) == list(range(68))


def test_jitter_stays_within_the_picture_and_its_strength():
    grey = torch.full((200, 1, 4, 4), 0.5)
    grey[:, :, 0] = 0.4
    out = trunks.jitter(grey, generator())
    mean = out.mean((1, 2, 3)) / 0.475
    assert out.min() >= 0 and out.max() <= 1 and mean.std() > 0.1
    assert mean.min() >= 0.7 - 1e-6 and mean.max() <= 1.3 + 1e-6
    assert torch.equal(trunks.jitter(grey, generator()), out)
    torch.testing.assert_close(trunks.jitter(grey, generator(), strength=0.0), grey)


def test_a_tuned_trunk_keeps_the_early_layers_of_its_start_and_differs_between_seeds(data, start):
    made = corpus()
    tuned = distill.encoders(made, data, SMALL, simulated=True)
    assert tuned.features.shape == (2, 90, start.n_features)
    mean = tuned.features[:, data.rows("train")].mean(1)
    torch.testing.assert_close(mean, torch.zeros(2, start.n_features), atol=1e-4, rtol=0)
    assert not torch.allclose(tuned.features[0], tuned.features[1])
    # pictures are encoded as frames are
    torch.testing.assert_close(tuned.encode(made.frames[:5]), tuned.features[:, :5], atol=1e-5, rtol=1e-5)
    maps = trunks._early_maps(start, made.frames, "cpu")
    network, _ = trunks._tuned("trunk", made, data, SMALL.tuning, 0, start, lambda: maps, "cpu")
    for i, (a, b) in enumerate(zip(network.layers, start.layers, strict=True)):
        same = all(torch.equal(p, q) for p, q in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
        assert same == (i < start.n_early) or not a.state_dict()


def test_sound_stands_beside_the_trunk(data, start):
    sees, both = (
        distill.trunks.tune_trunks(corpus(), data, dataclasses.replace(SMALL, audio=audio, seeds=(0,)), start).features
        for audio in (False, True)
    )
    assert both.shape[2] > sees.shape[2]
    torch.testing.assert_close(both[..., : sees.shape[2]], sees)


def test_heads_stand_on_trunks_of_their_own_or_of_images_on_gradients(data):
    own = distill.encoders(corpus(), data, dataclasses.replace(SMALL, end_to_end=True), simulated=False)
    assert isinstance(own, distill.trunks.OwnTrunks) and own.start is None
    images, ferplus = distill.videos.images_as_videos(faces()), dataclasses.replace(SMALL, clip=1)
    hog = distill.encoders(images, distill.split_videos(images, ferplus), ferplus, simulated=False)
    assert hog.features.shape == (1, 60, 900)  # for all seeds
    torch.testing.assert_close(hog.encode(images.frames[:4]), hog.features[:, :4])
