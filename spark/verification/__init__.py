"""The proof (``make verify``): every record is accounted for, every result can be recomputed."""
