"""The labelling page: a server that asks people, and keeps what they say."""
