"""The only trainer-side room that knows ML-Agents: registration, YAML settings, data assembly, policies and trainers."""
