"""The only trainer-side room that knows ML-Agents: registration, settings, data, policies and trainers."""
