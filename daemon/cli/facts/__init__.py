"""Facts on their way in: sent to Kafka, found again, refused."""
