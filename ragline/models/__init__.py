"""The model store: weights in one folder, each known by its hash, fetched once and checked at every start."""

from ragline.models.catalogue import Model
from ragline.models.files import Fault, File, Progress
from ragline.models.store import ModelStore, Row

__all__ = ["Fault", "File", "Model", "ModelStore", "Progress", "Row"]
