"""An environment for hosts without a way out: wheels gathered here and shipped by SSH."""
