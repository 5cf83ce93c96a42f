"""The commands webchat and webui: talk to a model and look after runs in the browser."""
