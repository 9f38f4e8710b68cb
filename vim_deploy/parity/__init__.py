"""How far two results are apart, and whether that is too far. Needs numpy only."""
