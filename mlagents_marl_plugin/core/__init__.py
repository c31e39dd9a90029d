"""Pure torch: sample types, networks, replay, exploration. Nothing here knows ML-Agents."""
