"""What the doctor looks for: pure functions from what hosts answered to findings."""
