"""Side effects: what follows a reply, once it was sent."""
