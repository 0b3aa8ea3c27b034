"""From stored returns to scores, intervals, verdicts and the model of a compared table."""
