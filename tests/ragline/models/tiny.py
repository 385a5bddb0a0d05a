"""A catalogue of one tiny model, and the wheel that it comes in, made by the tests themselves."""

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

from ragline.models import File, Model

PACKAGE = "ragline_tiny_model"
CONTENT: Mapping[str, bytes] = {
    "config.json": b'{"model_type": "bert"}',
    "model.safetensors": bytes(range(256)) * 40,
    "1_Pooling/config.json": b"{}",
}
CATALOGUE = """
[[model]]
id = "tiny"
kind = "embedder"
licence = "Apache-2.0"
package = "ragline-tiny-model"
version = "0.1.0"
prefix = "ragline_tiny_model/model/"
upstream = "org/tiny"
revision = "main"
files = [
"""


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def tiny() -> Model:
    files = tuple(File(path, len(data), digest(data)) for path, data in CONTENT.items())
    return Model(
        id="tiny",
        kind="embedder",
        licence="Apache-2.0",
        package="ragline-tiny-model",
        version="0.1.0",
        prefix=f"{PACKAGE}/model/",
        upstream="org/tiny",
        revision="main",
        files=files,
    )


def write_wheel(folder: Path, content: Mapping[str, bytes] = CONTENT) -> Path:
    """A wheel with the model's files, and some that are not the model's."""
    info = f"{PACKAGE}-0.1.0.dist-info"
    wheel = folder / f"{PACKAGE}-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, data in content.items():
            archive.writestr(f"{PACKAGE}/model/{path}", data)
        archive.writestr(f"{PACKAGE}/__init__.py", "raise RuntimeError('a model store imports nothing')")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: ragline-tiny-model\nVersion: 0.1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return wheel


def write_installed(folder: Path, content: Mapping[str, bytes] = CONTENT) -> None:
    """The package as pip would have installed it into ``folder``."""
    package = folder / PACKAGE
    for path, data in content.items():
        (package / "model" / path).parent.mkdir(parents=True, exist_ok=True)
        (package / "model" / path).write_bytes(data)
    (package / "__init__.py").write_text("raise RuntimeError('a model store imports nothing')")


def write_catalogue(path: Path) -> None:
    """The same model as a catalogue's text, for another process."""
    rows = [f'{{ path = "{f.path}", size = {f.size}, sha256 = "{f.sha256}" }},' for f in tiny().files]
    path.write_text(CATALOGUE + "\n".join(rows) + "\n]\n")
