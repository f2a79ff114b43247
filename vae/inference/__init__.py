"""What q(z|x) is held against: log p(x) and the exact posterior."""
