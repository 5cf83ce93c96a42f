"""The command batch: answers for a file of prompts."""
