"""vLLM's side: the numbers of each row, sent along with its log-probabilities."""
