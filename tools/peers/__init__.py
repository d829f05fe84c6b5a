"""What mixline is measured against: each file is one contender's process, written as its users would write it."""
