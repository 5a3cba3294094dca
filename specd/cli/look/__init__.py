"""See how things stand: status, explanations, the doctor, the log, the report."""
