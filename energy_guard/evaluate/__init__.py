"""The evaluation: answers of several tasks → every figure of a report."""
