"""Files of labelled questions, in the shapes in which people have them; see `questions.rows`."""
