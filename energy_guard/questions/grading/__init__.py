"""What a person would call right: the parts of the grader, each of which reads text alone."""
