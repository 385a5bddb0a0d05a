"""Text encoders and pair classifiers of the BERT family on ONNX Runtime, straight from a safetensors folder."""

from ragline.encoder.encoder import Encoded, Encoder
from ragline.encoder.pairs import PairClassifier
from ragline.encoder.tokenizer import Tokens

__all__ = ["Encoded", "Encoder", "PairClassifier", "Tokens"]
