"""One self-contained HTML page of what is stored: leaderboards, charts, pairs and the images that flipped."""
