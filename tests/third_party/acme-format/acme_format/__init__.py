"""Transcripts of Acme's help desk."""
