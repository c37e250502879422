"""What ``photometry demo`` and ``make demo`` show. Nothing else imports it."""
