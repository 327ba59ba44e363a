"""Who a text is about: the names of edited subjects."""
