"""Images: built, baked, pulled, and sent to hosts that lack them."""
