"""What measuring quality needs: sets in BEIR layout, metrics, and a private suite to measure."""


class EvaluationError(Exception):
    """Nothing could be measured; the text is one sentence with the way out."""
