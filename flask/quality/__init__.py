"""Live detection quality: labels of `ground_truth` against the stored alerts.

``python -m quality`` runs beside the pipeline and writes ``fraud_labels`` and
``detection_quality``. Nothing that scores reads what it reads or writes.
"""
