"""The masked autoencoder trains the student's own encoder, on the patches that it is shown."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.networks.nets import UNet
from torch.testing import assert_close

from common.distillation.methods.mae import (
    MaskedAutoencoder,
    MaskedReconstructionLoss,
    prepare_images,
)
from common.errors import InputError
from common.students.vit import ViTSegmenter


@pytest.fixture
def student() -> ViTSegmenter:
    torch.manual_seed(0)
    return ViTSegmenter(hidden_size=24, depth=2, num_heads=2, conv_channels=(4, 4))


@pytest.fixture
def autoencoder(student) -> MaskedAutoencoder:
    return MaskedAutoencoder(student, image_size=64, decoder_hidden_size=12, decoder_depth=1)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def patch(index: int) -> tuple[slice, slice]:
    row, column = divmod(index, 4)
    return slice(16 * row, 16 * row + 16), slice(16 * column, 16 * column + 16)


def test_every_trained_weight_of_the_student_is_the_autoencoders_own(student, autoencoder):
    shared = {id(p) for p in autoencoder.parameters()}
    assert {name for name, p in student.named_parameters() if id(p) in shared} == {
        name for name, _ in student.named_parameters() if name.startswith("encoder.")
    }


def test_a_step_changes_every_weight_of_the_encoder_but_the_fixed_positions(student, autoencoder, images):
    before = {name: value.clone() for name, value in student.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in autoencoder.parameters() if p.requires_grad], lr=1.0)
    MaskedReconstructionLoss(16)(autoencoder(images), images).backward()
    optimizer.step()
    changed = {name for name, value in student.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if name.startswith("encoder.")} - {"encoder.pos_embed"}


def test_every_parameter_that_trains_gets_a_gradient(autoencoder, images):
    """DistributedDataParallel waits for those of all."""
    MaskedReconstructionLoss(16)(autoencoder(images), images).backward()
    assert [name for name, p in autoencoder.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize("size", [(14, 14), (3, 5)])
def test_positions_are_sines_and_cosines_of_row_and_column(size, student):
    student.encoder.pos_embed = torch.nn.Parameter(torch.zeros(1, 24, *size))
    MaskedAutoencoder(student, image_size=64, decoder_hidden_size=12)
    rows, columns = np.mgrid[: size[0], : size[1]]
    frequencies = 1 / 10000 ** (np.arange(6) / 6)
    angles = [frequencies[:, None, None] * each for each in (columns, rows)]
    expected = np.concatenate([f(angle) for angle in angles for f in (np.sin, np.cos)])
    assert_close(student.encoder.pos_embed[0].detach().numpy(), expected.astype(np.float32), rtol=1e-4, atol=1e-5)


def test_patches_are_embedded_as_the_student_embeds_them(student, autoencoder, images):
    seen = []
    student.encoder.blocks[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        student(images)
        embedded = autoencoder.patch_embedding((images - 0.5) / 0.25)
        torch.manual_seed(0)
        _, mask = autoencoder(images)
    assert torch.equal(seen[0], embedded)
    assert seen[1].shape == (3, 1 + 4, 24), "a class token and a quarter of sixteen patches"
    assert (mask.sum(1) == 12).all()
    for index in range(3):
        visible = embedded[index][mask[index] == 0]
        shown = {tuple(token.tolist()) for token in seen[1][index, 1:]}
        assert shown == {tuple(token.tolist()) for token in visible}


def test_masked_patches_are_not_seen_and_the_others_are(autoencoder, images):
    def draw(changed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(3)
        with torch.no_grad():
            return autoencoder(changed)

    pixels, mask = draw(images)
    for wanted in (0, 1):
        changed = images.clone()
        rows, columns = patch(int((mask[0] == wanted).nonzero()[0]))
        changed[0, :, rows, columns] = 0
        assert torch.equal(draw(changed)[0][0], pixels[0]) == bool(wanted)


def test_training_teaches_to_draw_masked_patches(autoencoder):
    """Images of vertical waves that differ in wavelength alone."""
    torch.manual_seed(0)
    waves = torch.sin(torch.arange(64) / torch.tensor([[2.0], [3.0], [5.0], [7.0]])) / 2 + 0.5
    images = waves[:, None, None, :].expand(4, 3, 64, 64)
    loss_function = MaskedReconstructionLoss(16)
    optimizer = torch.optim.AdamW([p for p in autoencoder.parameters() if p.requires_grad], lr=5e-3)
    losses = []
    for _ in range(150):
        optimizer.zero_grad()
        losses.append(loss_function(autoencoder(images), images))
        losses[-1].backward()
        optimizer.step()
    assert torch.stack(losses[-5:]).mean() < 0.5  # a blank drawing has 1


def test_half_precision_gives_nearly_the_same(autoencoder, images):
    torch.manual_seed(0)
    exact, _ = autoencoder(images)
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded, _ = autoencoder(images)
    assert_close(rounded.float(), exact, rtol=0.1, atol=0.05)


def test_a_student_without_such_an_encoder_is_refused():
    unet = UNet(spatial_dims=2, in_channels=3, out_channels=2, channels=(4, 8), strides=(2,))
    with pytest.raises(InputError, match=r"student_def: only the encoder of a ViTSegmenter .* got a UNet"):
        MaskedAutoencoder(unet, image_size=64)


@pytest.mark.parametrize(("image_size", "masking_ratio"), [(16, 0.75), (32, 0.9), (64, 0.0)])
def test_images_with_no_patch_to_see_or_none_to_draw_are_refused(image_size, masking_ratio, student):
    with pytest.raises(InputError, match=r"masking_ratio: of the \d+ patches .* leaves none"):
        MaskedAutoencoder(student, image_size, masking_ratio)


# The loss


def test_reconstruction_loss_is_the_squared_error_of_masked_patches_normalised_one_by_one():
    images, mask = torch.rand(2, 3, 8, 12), torch.tensor([[1, 0, 0, 1, 1, 0], [0, 0, 1, 0, 0, 0]])
    pixels = torch.randn(2, 6, 4 * 4 * 3)
    errors = []
    for item, patch in mask.nonzero().tolist():
        row, column = divmod(patch, 3)
        target = images[item, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].double().numpy()
        target = (target - target.mean()) / np.sqrt(target.var(ddof=1) + 1e-6)
        drawn = pixels[item, patch].double().numpy().reshape(4, 4, 3).transpose(2, 0, 1)
        errors.append(np.mean((drawn - target) ** 2))
    assert MaskedReconstructionLoss(4)((pixels, mask), images).item() == pytest.approx(np.mean(errors), rel=1e-5)


def test_patches_that_were_seen_do_not_count():
    images, mask = torch.rand(1, 1, 8, 8), torch.tensor([[1, 0, 0, 0]])
    pixels = torch.randn(1, 4, 16, requires_grad=True)
    MaskedReconstructionLoss(4)((pixels, mask), images).backward()
    assert pixels.grad[0, 0].all()
    assert not pixels.grad[0, 1:].any()


def test_a_patch_of_one_colour_is_drawn_as_zero():
    loss = MaskedReconstructionLoss(4)
    assert loss((torch.zeros(1, 1, 16), torch.ones(1, 1)), torch.full((1, 1, 4, 4), 0.3)).item() < 1e-6


def test_images_are_input_and_target(images):
    given, target = prepare_images({"image": images}, torch.device("cpu"), memory_format=torch.channels_last)
    assert torch.equal(given, images)
    assert target is given
    assert given.is_contiguous(memory_format=torch.channels_last)
