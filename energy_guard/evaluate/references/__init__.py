"""What a detector is compared with: asking again, being told the rule, hidden states."""
