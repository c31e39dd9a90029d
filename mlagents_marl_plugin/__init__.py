"""Multi-agent trainers for Unity ML-Agents, inside the stock mlagents-learn."""
