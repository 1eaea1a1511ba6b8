"""What planted edits do to residuals, on a dictionary of two features by hand."""

from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError

from extract.config_sections import PlantedEdit
from extract.pilot.planted import planted_change, rotation

HIDDEN = torch.tensor([[[3.0, 4.0, 1.0], [0.0, 2.0, 5.0]]])
IDS = torch.tensor([[7, 8]])


class TwoFeatures:
    """Feature 0 writes what stands on the first axis, feature 1 on the second."""

    site = reads = None

    def direction(self, feature: int) -> torch.Tensor:
        return torch.eye(3, dtype=torch.float64)[feature]

    def prepare(self, residuals: torch.Tensor, _site: None = None) -> torch.Tensor:
        return residuals

    def writes(self, features: list[int], residuals: torch.Tensor) -> torch.Tensor:
        return residuals[..., features]


def changed(**edit) -> list:
    pilot = SimpleNamespace(median_norm=10.0, mean=torch.zeros(3))
    change = planted_change(PlantedEdit(layer=1, **edit), TwoFeatures(), pilot, pad=0)
    return change.of(HIDDEN, IDS, HIDDEN)[0].tolist()


def test_what_several_features_write_is_taken() -> None:
    assert changed(feature=[0, 1], ablate=True) == [[0, 0, 1], [0, 0, 5]]
    assert changed(feature=[0, 1], ablate=True, strength=0.5) == [[1.5, 2, 1], [0, 1, 5]]
    assert changed(feature=[1], ablate=True) == changed(feature=1, ablate=True) == [[3, 0, 1], [0, 0, 5]]


def test_a_negative_share_adds_to_what_is_written() -> None:
    assert changed(feature=[0, 1], ablate=True, strength=-1.0) == [[6, 8, 1], [0, 4, 5]]


def test_rescaled() -> None:
    assert changed(feature=0, rescale=True, strength=0.5) == [[1.5, 2, 0.5], [0, 1, 2.5]]


def test_a_rotation_keeps_norms_and_turns_by_its_strength() -> None:
    edit = PlantedEdit(layer=1, feature=0, rotate=True, strength=0.3)
    turn = rotation(3, edit)
    torch.testing.assert_close(turn @ turn.T, torch.eye(3, dtype=torch.float64))
    angles = torch.linalg.eigvals(turn).angle().abs()
    torch.testing.assert_close(angles.max(), torch.tensor(0.3, dtype=torch.float64))
    torch.testing.assert_close(torch.tensor(changed(feature=0, rotate=True, strength=0.3)).norm(dim=1), HIDDEN[0].norm(dim=1))
    assert not torch.equal(rotation(3, edit.model_copy(update={"feature": 1})), turn)


@pytest.mark.parametrize("edit", [{"feature": []}, {"feature": [0, 1]}, {"feature": 0, "rescale": True, "rotate": True}])
def test_what_is_no_edit(edit: dict) -> None:
    with pytest.raises(ValidationError, match="give"):
        PlantedEdit(layer=1, **edit)
