"""From the topic to the ledger, and back to the topics; one record, in order:

    kafka_client.py                   polled
    consumer.py                       parsed (events/fact_event.py), into the ledger in one transaction (ledger/intake.py)
    dead_letters.py                   what cannot be read goes to fact-updates.dlq; then the offset is committed
    outbox_relay.py                   what became of each edit goes to edit-outcomes

`consume_role.py` runs consumer and relay. `submit.py` sends a file of events, `consumer_lag.py` measures from outside.
"""
