"""Studies: trainings over a grid of arms, random settings and seeds, and what they say about a claim."""
