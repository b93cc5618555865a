package io.github.frauddetection.connect;

/** One transaction of the contract {@code schema.avsc}; its timestamp in ms UTC. */
record Transaction(
    String transactionId,
    long timestampMs,
    double amount,
    String senderAccount,
    String receiverAccount,
    String type,
    String status) {}
