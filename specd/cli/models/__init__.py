"""Find out about models: which pairs fit, and how fast they are."""
