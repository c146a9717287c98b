"""One walk through everything for each runtime: one lab, one fleet, a few minutes."""
