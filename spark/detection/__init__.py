"""Detection: the streaming job that scores transactions, and the training of its model."""
