"""Numbers with n and interval: how answers are ranked, how right P(wrong) is, what targets earn."""
