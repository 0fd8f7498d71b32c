"""Labels that are drawn with their images."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from ignite.engine import Engine
from integration import refused, tiny_unet
from PIL import Image
from textures import small_textures
from transfer_sets import build, contents, make_training_images

from common.pictures.sheets import pictures_of
from common.synthesis import transfer_set_builder
from common.synthesis.diffusion_folder import drawn_classes, load_pipeline, save_pipeline
from common.synthesis.drawn_labels import AppendLabeld, mark_label, split_labels, to_label_picture
from common.synthesis.pretrained_diffusion import start_from
from common.synthesis.sample_grid import SampleGridHandler
from common.synthesis.sampling import sample
from common.synthesis.transfer_set import read_transfer_set

SIZE = 16
CLASSES = ["background", "cyst", "wall"]
STRUCTURES = len(CLASSES) - 1


@pytest.fixture
def pairs_model(tmp_path):
    """An untrained model of grey images with labels of two structures."""
    save_pipeline(tiny_unet(1 + STRUCTURES), DDPMScheduler(), tmp_path / "diffusion", CLASSES)
    return load_pipeline(tmp_path / "diffusion", 1)


@pytest.fixture
def ids():
    return torch.randint(1 + STRUCTURES, (1, SIZE, 12), generator=torch.Generator().manual_seed(0))


class TestChannels:
    def test_a_label_comes_back_from_the_channels_it_went_into(self, ids):
        image = torch.rand(1, SIZE, 12)
        item = AppendLabeld("image", 1 + STRUCTURES)({"image": image, "label": ids.float()})
        assert item.keys() == {"image"}
        joined = item["image"]
        assert joined.shape == (1 + STRUCTURES, SIZE, 12)
        images, labels = split_labels(joined[None], 1)
        assert torch.equal(images, image[None])
        assert torch.equal(labels, ids.to(torch.uint8))

    def test_what_is_below_a_half_is_background(self):
        drawn = torch.tensor([0.9, 0.4, 0.3]).view(1, 3, 1, 1)
        assert split_labels(drawn, 1).labels.item() == 0
        assert split_labels(torch.tensor([0.9, 0.6, 0.7]).view(1, 3, 1, 1), 1).labels.item() == 2

    def test_images_alone_have_no_label(self):
        assert split_labels(torch.rand(2, 3, 4, 4), 3).labels is None

    def test_a_label_picture_has_columns_as_its_width(self, ids):
        picture = to_label_picture(ids[0])
        assert picture.size == (SIZE, 12)
        np.testing.assert_array_equal(np.asarray(picture), ids[0].T)

    def test_a_label_is_marked_at_the_size_of_the_picture(self):
        ids = torch.zeros(8, 8)
        ids[2:6, 2:6] = 1
        marked = np.asarray(mark_label(Image.new("L", (64, 64), 128), to_label_picture(ids)))
        changed = (marked != 128).any(-1)
        assert changed[16:48, 16:48].any()
        assert not changed[:10].any()


class TestTransferSet:
    def test_it_has_a_label_for_each_image(self, tmp_path, pairs_model):
        arguments = {"num_images": 5, "batch_size": 2, "classes": CLASSES}
        build(pairs_model, tmp_path / "transfer", make_training_images(small_textures(4)), **arguments)
        datalist = json.loads((tmp_path / "transfer/datalist.json").read_text())
        assert datalist["labels"] == {"0": "background", "1": "cyst", "2": "wall"}
        listed = datalist["training"]
        numbers = [f"{number:06d}.png" for number in range(1, 6)]
        assert listed == [{"image": f"images/{name}", "label": f"labels/{name}"} for name in numbers]
        found = set()
        for entry in listed:
            with Image.open(tmp_path / "transfer" / entry["label"]) as label:
                assert (label.mode, label.size) == ("L", (SIZE, SIZE))
                found |= set(np.unique(np.asarray(label)).tolist())
        assert found <= {0, 1, 2}
        assert len(found) > 1
        with Image.open(tmp_path / "transfer/contact_sheet.png") as sheet:
            assert sheet.size[0] > 8 * SIZE

    def test_labels_of_dropped_samples_go_with_them(self, tmp_path, pairs_model, monkeypatch):
        known = small_textures(3)
        drawn = torch.cat([torch.cat([known[:1], small_textures(2, seed=1)]), torch.rand(3, STRUCTURES, SIZE, SIZE)], 1)
        monkeypatch.setattr(transfer_set_builder, "sample", lambda unet, scheduler, count, *a, **k: drawn[:count])
        arguments = {"num_images": 3, "batch_size": 3, "classes": CLASSES}
        build(pairs_model, tmp_path / "transfer", make_training_images(known), **arguments)
        images, labels = (
            {path.name for path in (tmp_path / "transfer" / kind).iterdir()} for kind in ("images", "labels")
        )
        assert images == labels
        assert "000001.png" not in labels

    def test_a_run_that_was_killed_ends_equal(self, tmp_path, pairs_model, monkeypatch):
        training, calls = make_training_images(small_textures(4)), []

        def failing_sample(*args, **kwargs):
            calls.append(args)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return sample(*args, **kwargs)

        monkeypatch.setattr(transfer_set_builder, "sample", failing_sample)
        with pytest.raises(KeyboardInterrupt):
            build(pairs_model, tmp_path / "cut", training, num_images=4, batch_size=2, classes=CLASSES)
        for name in ("cut", "whole"):
            build(pairs_model, tmp_path / name, training, num_images=4, batch_size=2, classes=CLASSES)
        assert contents(tmp_path / "cut") == contents(tmp_path / "whole")

    def test_entries_have_their_labels_where_these_are_asked_for(self, tmp_path, pairs_model):
        out = tmp_path / "transfer"
        build(pairs_model, out, make_training_images(small_textures(4)), num_images=3, classes=CLASSES)
        assert read_transfer_set(out, 1)[0] == {"image": str(out / "images/000001.png")}
        entries = read_transfer_set(out, 1, num_transfer=2, length=3, classes=CLASSES)
        names = ["000001.png", "000002.png", "000001.png"]
        expected = [{"image": str(out / "images" / name), "drawn_label": str(out / "labels" / name)} for name in names]
        assert entries == expected

    def test_a_transfer_set_without_labels_says_how_to_get_them(self, tmp_path, pipeline):
        build(pipeline, tmp_path / "transfer", make_training_images(small_textures(4)), num_images=2)
        with refused(r"^the images in .* have no labels \(drawn_labels\): .*--with_labels true"):
            read_transfer_set(tmp_path / "transfer", 1, classes=CLASSES)

    def test_labels_of_other_classes_are_refused(self, tmp_path, pairs_model):
        training = make_training_images(small_textures(4))
        build(pairs_model, tmp_path / "transfer", training, num_images=2, classes=CLASSES)
        with refused("^the labels in .* are of background, cyst, wall, and those of the dataset of background, kidney"):
            read_transfer_set(tmp_path / "transfer", 1, classes=["background", "kidney", "cortex"])

    @pytest.mark.parametrize("labels", [{"0": "background", "2": "wall"}, ["background"], 3])
    def test_damaged_names_of_classes_are_refused(self, tmp_path, pairs_model, labels):
        training = make_training_images(small_textures(4))
        build(pairs_model, tmp_path / "transfer", training, num_images=2, classes=CLASSES)
        path = tmp_path / "transfer/datalist.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"labels": labels}))
        with refused("datalist.json is damaged"):
            read_transfer_set(tmp_path / "transfer", 1, classes=CLASSES)

    def test_a_missing_label_is_named(self, tmp_path, pairs_model):
        training = make_training_images(small_textures(4))
        build(pairs_model, tmp_path / "transfer", training, num_images=2, classes=CLASSES)
        (tmp_path / "transfer/labels/000002.png").unlink()
        with refused("1 of its labels are missing, first .*000002.png"):
            read_transfer_set(tmp_path / "transfer", 1, classes=CLASSES)


def test_the_channels_of_labels_are_not_taken_for_the_images(tmp_path, pairs_model):
    assert drawn_classes(tmp_path / "diffusion") == CLASSES
    with refused("makes images of 1 channels, expected 3"):
        load_pipeline(tmp_path / "diffusion", 3)
    save_pipeline(tiny_unet(3), DDPMScheduler(), tmp_path / "colour")
    assert drawn_classes(tmp_path / "colour") is None
    with refused("makes images of 3 channels, expected 1"):
        load_pipeline(tmp_path / "colour", 1)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"classes": ["one"]}', '{"classes": [1, 2]}'])
def test_a_damaged_record_of_classes_is_refused(tmp_path, pairs_model, content):
    (tmp_path / "diffusion/labels.json").write_text(content)
    with refused("labels.json cannot be read"):
        load_pipeline(tmp_path / "diffusion", 1)


def test_a_model_of_pairs_starts_another_one_of_as_many_classes_alone(tmp_path, pairs_model):
    network = tiny_unet(1 + STRUCTURES, seed=4)
    start_from(network, DDPMScheduler(), tmp_path / "diffusion", image_channels=1)
    assert torch.equal(network.conv_in.weight, pairs_model.unet.conv_in.weight)
    with refused(r"draws images with labels of 3 classes \(background, cyst, wall\), and these are labels of 4"):
        start_from(tiny_unet(4), DDPMScheduler(), tmp_path / "diffusion", image_channels=1)
    for channels in (1, 3):  # neither is a label averaged into an image, nor taken for colours
        with refused(r"draws images with labels of 3 classes .* and with_labels is false"):
            start_from(tiny_unet(channels), DDPMScheduler(), tmp_path / "diffusion", image_channels=channels)


def test_a_model_of_images_starts_one_of_pairs(tmp_path):
    save_pipeline(tiny_unet(1, seed=1), DDPMScheduler(), tmp_path / "prior")
    network = tiny_unet(1 + STRUCTURES)
    start_from(network, DDPMScheduler(), tmp_path / "prior", image_channels=1)
    pairs = torch.rand(2, 1 + STRUCTURES, SIZE, SIZE)
    with torch.no_grad():
        found = network(pairs, torch.tensor(500)).sample
        expected = tiny_unet(1, seed=1)(pairs[:, :1], torch.tensor(500)).sample
    torch.testing.assert_close(found[:, :1], expected)
    assert not found[:, 1:].any()


def test_a_grid_shows_labels_beside_the_images(tmp_path):
    handler = SampleGridHandler(
        tiny_unet(1 + STRUCTURES), DDPMScheduler(), tmp_path, 1, num_samples=4, num_inference_steps=1, image_channels=1
    )
    engine = Engine(lambda engine, batch: None)
    handler.attach(engine)
    engine.run([0], max_epochs=1)
    with Image.open(tmp_path / "samples_epoch_0001.png") as sheet:
        assert len(pictures_of(sheet)) == 2
