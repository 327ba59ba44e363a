"""What regression checks notice, what blame costs, what a check costs."""
