"""The door: what nginx is to be told, as text."""
